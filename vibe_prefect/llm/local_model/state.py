"""Folder of this user on this machine for what processes share about local models; nothing in it is worth keeping."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from vibe_prefect.errors import ToolError


def state_folder() -> Path:
    """Return the folder, and create it where there is none.

    Raises:
        ToolError: It cannot be created, or others could write to it.
    """
    folder = Path(tempfile.gettempdir()) / f"vibe-prefect-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ToolError(f"the folder for local models cannot be created: {error}", retryable=False) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ToolError(
            f"the folder for local models, {str(folder)!r}, is not one that only you can write to; remove it, or set "
            "TMPDIR to another folder",
            retryable=False,
        )
    return folder
