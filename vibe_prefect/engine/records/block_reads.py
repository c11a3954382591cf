"""Reads from a storage block that distinguish a missing file from a storage that does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, cast
from uuid import uuid4

from vibe_prefect.engine.prefect_seam.storage import read_block, write_block
from vibe_prefect.engine.server.server_failures import chain
from vibe_prefect.errors import RecordStorageError, shorten

logger = logging.getLogger(__name__)

PAUSES = (1.0, 3.0, 9.0)
"""Seconds after which a storage that did not answer is asked again."""

NOT_FOUND = 404

_CODES = frozenset({"404", "NoSuchKey", "NotFound", "BlobNotFound", "ResourceNotFound", "NoSuchFile"})
"""Codes of object stores for a missing file."""

_CLASSES = ("NotFound", "NoSuchKey", "DoesNotExist")
"""Parts of class names of exceptions for a missing file."""

_TEXTS = ("does not exist", "not found", "no such file", "no such key")
"""Parts of texts of such exceptions, where the class says nothing, as with Prefect's own folder block."""

_absent: set[tuple[type, type]] = set()
"""Classes of blocks, each with a class of exception that turned out to mean a missing file."""


async def read_if_there(block: Any, key: str) -> bytes | None:
    """Return the bytes of a file in a storage block; `None` when there is none.

    Each kind of block has its own exception for a missing file. Where it is not recognised, the storage is asked again
    after `PAUSES`; if that fails though the storage keeps and returns another file, the exception means a missing file.

    Args:
        block: The block.
        key: The file.

    Raises:
        RecordStorageError: The storage did not answer, so it is not known whether there is such a file.
    """
    for pause in PAUSES:
        try:
            return await _read(block, key)
        except Exception as error:  # noqa: BLE001 - each kind of block has its own
            logger.info("The storage of records did not answer, and is asked again in %g s: %s", pause, _reason(error))
        await asyncio.sleep(pause)
    answers = await _answers(block, key)
    try:
        return await _read(block, key)
    except Exception as error:
        if not answers:
            raise RecordStorageError(
                f"the storage of records did not answer ({_reason(error)}), so nobody knows what is on record; nothing "
                "was executed: repeat the command when it answers"
            ) from error
        _absent.add((block.__class__, error.__class__))
        return None


async def _read(block: Any, key: str) -> bytes | None:
    """Read a file; `None` where the exception is known to mean that it is missing."""
    try:
        return await read_block(block, key)
    except Exception as error:
        if (block.__class__, error.__class__) not in _absent and not tells_absence(error):
            raise
        logger.debug("No %s", key, exc_info=True)
        return None


def _reason(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}")


def tells_absence(error: BaseException) -> bool:
    """Return whether an exception, or one of its causes, says that a file is missing.

    Args:
        error: The exception.
    """
    for link in chain(error):
        if _is_absence(link):
            return True
        if isinstance(link, OSError):  # such as a host that is not found
            return False
    return False


def _is_absence(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError | NotADirectoryError | KeyError):
        return True
    response = getattr(error, "response", None)
    numbers = (getattr(error, name, None) for name in ("status_code", "code", "status"))
    if NOT_FOUND in numbers or _code(response) in _CODES or getattr(response, "status_code", None) == NOT_FOUND:
        return True
    if any(part in type(error).__name__ for part in _CLASSES):
        return True
    return isinstance(error, ValueError) and any(part in str(error).lower() for part in _TEXTS)


def _code(response: object) -> str | None:
    """Return the code of an error of boto's, which has it in a dict of dicts."""
    if not isinstance(response, Mapping):
        return None
    error = cast("Mapping[str, Any]", response).get("Error")
    return str(cast("Mapping[str, Any]", error).get("Code")) if isinstance(error, Mapping) else None


async def _answers(block: Any, key: str) -> bool:
    """Write a file beside a key, and return whether the storage gives it back."""
    content = uuid4().bytes
    probe = f"{key.rpartition('/')[0]}/.probe".lstrip("/")
    try:
        await write_block(block, probe, content)
        return await read_block(block, probe) == content
    except Exception:
        logger.debug("The storage does not answer", exc_info=True)
        return False
