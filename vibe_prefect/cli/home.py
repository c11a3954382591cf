"""Prefect's home: the folder in which it keeps its profiles, its database and, by default, records."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vibe_prefect.cli.exits import StartError

HOME_VARIABLE = "PREFECT_HOME"


def prefect_home() -> Path | None:
    """Return Prefect's home; `None` where the user has no home folder, as in a container with an arbitrary user id."""
    try:
        return Path(os.environ.get(HOME_VARIABLE) or "~/.prefect").expanduser()
    except RuntimeError:
        return None


def check_home(*, written: bool = False) -> Path:
    """Return Prefect's home, and create it where it does not exist yet.

    Args:
        written: Whether something will be written there in any case, such as a database.

    Raises:
        StartError: The user has no home folder, or Prefect's home is not a usable folder.
    """
    home = prefect_home()
    if home is None:
        raise StartError(f"there is no home folder: set {HOME_VARIABLE} to a folder that can be written")
    try:
        home.mkdir(parents=True, exist_ok=True)
        if written and not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it cannot be written")
    except OSError as error:
        raise StartError(
            f"Prefect's home {str(home)!r} cannot be used ({error.strerror or error}): set {HOME_VARIABLE} to a folder "
            "that can be written"
        ) from error
    return home
