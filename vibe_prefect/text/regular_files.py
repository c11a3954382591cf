"""Reading files that somebody else names: regular files alone, so that nothing hangs or asks the system."""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from io import BufferedReader
from pathlib import Path

SYSTEM_FOLDERS = (Path("/proc"), Path("/sys"))
"""Folders whose files are questions to the system: `/proc/self/environ` holds this process's environment."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # the opening of a pipe must not wait for a writer


def read_regular(path: Path, limit: int) -> bytes:
    """Return a regular file's bytes, one more than the limit at most, however much it grows meanwhile.

    Args:
        path: The file; links are followed.
        limit: How many bytes are wanted.

    Raises:
        OSError: It cannot be opened, or it is not a regular file: a folder, a pipe, a device, or a file of `/proc`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size  # Python takes the memory for as much as it is asked for
        return file.read(min(limit, size) + 1)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file; links are followed.

    Raises:
        OSError: It cannot be opened, or it is not a regular file: a folder, a pipe, a device, or a file of `/proc`.
    """
    _check(path.stat(), path)  # first: the opening of a device may already do something
    file = open(path, "rb", opener=lambda name, _: os.open(name, _FLAGS))  # noqa: SIM115 - with flags of its own
    try:
        _check(os.fstat(file.fileno()), path)  # again: another one may have taken its place
    except BaseException:
        file.close()
        raise
    return file


def _check(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file", str(path))
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _system_devices():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


@lru_cache(maxsize=1)
def _system_devices() -> frozenset[int]:
    return frozenset(folder.stat().st_dev for folder in SYSTEM_FOLDERS if folder.is_mount())
