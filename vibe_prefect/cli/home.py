"""Prefect's home: the folder in which it keeps its profiles, its database and, by default, records."""

from __future__ import annotations

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


def check_home() -> Path:
    """Return Prefect's home, made where it is not there yet.

    Raises:
        StartError: There is none, or nothing can be written there.
    """
    home = prefect_home()
    if home is None:
        raise StartError(f"there is no home folder: set {HOME_VARIABLE} to a folder that can be written")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise StartError(
            f"Prefect's home {str(home)!r} cannot be made ({reason}): set {HOME_VARIABLE} to a folder that can be written"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise StartError(
            f"Prefect's home {str(home)!r} cannot be written: set {HOME_VARIABLE} to a folder that can be"
        )
    return home
