"""Locks of files between processes. They are the operating system's: they end with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def open_lock(path: Path) -> int:
    """Open a file for its lock, and create it where there is none."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(number: int, *, shared: bool = False) -> bool:
    """Lock an open file, or change its lock; return whether that was possible at once."""
    try:
        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Generator[bool]:
    """Hold a file's lock for the context, where that is possible at once.

    Yields:
        Whether it is held.
    """
    number = open_lock(path)
    try:
        yield try_lock(number, shared=shared)
    finally:
        os.close(number)
