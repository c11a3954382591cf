"""The helper process that does work within bounds: what `bounded_calls` starts and asks.

It reads one request after another from its standard input, and ends with it. The system itself ends it when the work
takes too long, so that nothing in a template or a text can prevent that, and refuses memory above the bound.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

from vibe_prefect.templates.texts import InvalidTemplateError

MEMORY = 256_000_000
"""Memory that one call may take besides its arguments, in bytes."""

MAX_RESULT = 10_000_000
"""The longest result, written as JSON, in bytes."""

MAX_KEPT = 64_000_000
"""Memory in bytes that a helper may hold between two templates; a larger helper is replaced."""

RESULT = b"r"
REFUSED = b"i"
EXCEEDED = b"e"
"""First byte of an answer: data, an `InvalidTemplateError`, or the reason why the work was not done."""

MORE = b"+"
LAST = b"."
"""Second byte of an answer: whether the helper takes another request, or ends."""

_LENGTH = struct.Struct(">Q")


def read_message(stream: BinaryIO) -> bytes | None:
    """Read a message from a pipe; `None` where the pipe ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None


def write_message(stream: BinaryIO, content: bytes) -> None:
    """Write a message to a pipe."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def serve() -> None:
    """Answer requests until the pipe ends, or the process has grown."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    most = _memory_used() + MAX_KEPT
    while (request := read_message(sys.stdin.buffer)) is not None:
        kind, content = _answer(request)
        request = b""
        follows = MORE if _memory_used() <= most + len(content) else LAST
        write_message(sys.stdout.buffer, kind + follows + content)
        if follows == LAST:
            return


def _answer(request: bytes) -> tuple[bytes, bytes]:
    """Call a function; return the kind of the answer, and the JSON of its result or a message."""
    call, arguments, seconds = cast("tuple[str, list[Any], float]", json.loads(request))
    module, _, name = call.partition(":")
    function = getattr(import_module(module), name)
    try:
        with _bounds(seconds):
            result = function(*arguments)
            _check_keys(result)
            encoded = json.dumps(result).encode()
    except InvalidTemplateError as error:
        return REFUSED, _encoded(str(error))
    except MemoryError:
        return EXCEEDED, _encoded(f"needs more than {MEMORY // 1_000_000} MB")
    except (TypeError, ValueError, RecursionError) as error:
        return EXCEEDED, _encoded(f"yields what JSON cannot hold: {error}")
    if len(encoded) > MAX_RESULT:
        return EXCEEDED, _encoded(f"yields more than {MAX_RESULT // 1_000_000} MB")
    return RESULT, encoded


def _encoded(message: str) -> bytes:
    return message.encode(errors="backslashreplace")


@contextmanager
def _bounds(seconds: float) -> Generator[None]:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    most = _memory_used() + MEMORY
    bounded = most if limits[1] == resource.RLIM_INFINITY else min(most, limits[1])
    resource.setrlimit(resource.RLIMIT_AS, (bounded, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _memory_used() -> int:
    """Return the size of the process's address space in bytes, which is what the system bounds."""
    pages = Path("/proc/self/statm").read_bytes().split()[0]
    return int(pages) * resource.getpagesize()


def _check_keys(value: Any) -> None:
    """Refuse keys that are no text: JSON would make texts of them."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            mapping = cast("dict[Any, Any]", item)
            for key in mapping:
                if not isinstance(key, str):
                    raise TypeError(f"the key {key!r}")
            pending += mapping.values()
        elif isinstance(item, list):
            pending += cast("list[Any]", item)
