"""The lock of a namespace of records: only one process at a time executes runs that write there.

It is the operating system's, so it ends with the process, however that ends. It covers records in a folder. A run with
child runs, which write there too, shares it with them: no other run gets it before all of them have ended.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import stat
from contextlib import suppress
from enum import Enum
from pathlib import Path

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from vibe_prefect.engine.records.record_files import refuse_links
from vibe_prefect.errors import RunInUseError, UsageError, printable
from vibe_prefect.settings.package import variable

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
"""Name of the lock in the folder of a namespace."""

STORAGE_VARIABLE = variable("storage")

MAX_HOLDER = 200
"""Bytes of a lock's text that a message shows."""

_UNWRITABLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM)
"""Error numbers of the operating system for a folder that exists but cannot be written."""


class Hold(Enum):
    """Ways to hold a namespace of records."""

    ALONE = "alone"
    """No other process may hold it."""

    WITH_CHILDREN = "with children"
    """No other process may hold it at first; from then on child runs may, too."""

    AS_CHILD = "as child"
    """A run that has child runs may hold it, and other child runs."""


def lock_or_warn(root: Path, namespace: str, hold: Hold = Hold.ALONE) -> int | None:
    """Lock a namespace of records for this process, and write the owner into the lock.

    Args:
        root: The folder of all records.
        namespace: The namespace.
        hold: Who else may hold it.

    Returns:
        The open file that holds the lock until it is closed; `None`, with a warning, where the folder cannot be
        written.

    Raises:
        RunInUseError: Another process holds it.
        UsageError: The folder of the records cannot be a folder.
    """
    path = root / namespace / LOCK_FILE
    try:
        refuse_links(root, path.parent)
        return _locked(path, namespace, hold)
    except OSError as error:
        problem = f"the folder of records {str(root)!r} cannot be written ({error.strerror or error})"
        if error.errno not in _UNWRITABLE:
            raise UsageError(f"{problem}: set {STORAGE_VARIABLE} to another folder") from error
    message = f"{problem}: a resumed run repeats what nodes have made; set {STORAGE_VARIABLE} to another folder"
    logger.warning(message)
    if FlowRunContext.get() is not None:
        get_run_logger().warning(message)
    return None


def _locked(path: Path, namespace: str, hold: Hold) -> int:
    """Open and lock a lock's file; tries again where the file was removed between the two."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_foreign(path)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # the folder was removed just now
            continue
        except OSError:
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # of an earlier run, where nothing can be written now
        try:
            _take(lock, namespace, hold)
            if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _remove_foreign(path: Path) -> None:
    """Remove a link, or another thing than a file, from the path of a lock: writing to it may touch other files.

    Raises:
        UsageError: It is a folder.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"the lock {str(path)!r} is a folder: remove it, and run again")
    logger.warning("The lock %s is a link or no regular file: it is removed, and another one made", path)
    path.unlink(missing_ok=True)


def _take(lock: int, namespace: str, hold: Hold) -> None:
    try:
        if hold is not Hold.AS_CHILD:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if hold is not Hold.ALONE:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        content = os.pread(lock, MAX_HOLDER, 0).decode(errors="replace").strip()
        holder = printable(content, MAX_HOLDER) or "another process"
        message = f"the run {namespace} is being executed by {holder}; wait for it to end, or cancel it"
        raise RunInUseError(message) from None
    if hold is Hold.AS_CHILD:
        return
    with suppress(OSError):  # whose lock it is only helps the reader of a message
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
