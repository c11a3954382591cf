"""Results, errors, progress and log records without secrets: what the engine lets out of a node.

Tools need not think of it. Only what cuts a text hides the secrets in it first (`secrets.scrubbed`), since a few
characters of a key cannot be distinguished from other text.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from vibe_prefect.errors import ToolError
from vibe_prefect.text.encodings import PIECE
from vibe_prefect.text.json_text import texts_in
from vibe_prefect.tools.secrecy.known import HIDDEN, held_back, holds_secret, scrubbed

_BETWEEN = "\0"
_FORMATTER = logging.Formatter()

T = TypeVar("T")


def scrubbed_data(value: T) -> T:
    """Return data without secrets: the same object where there are none, else a copy. Keys of mappings count, too."""
    return cast("T", _scrubbed(value)) if any(map(holds_secret, _searched(value))) else value


@contextmanager
def redacted_errors() -> Generator[None]:
    """Raise what the block raises without secrets, those in its causes, notes and attributes included.

    An error without secrets passes as it is. Of another one the type stays, where it can be made to say something else.
    """
    try:
        yield
    except Exception as error:
        clean = redacted(error)
        if clean is error:
            raise
        raise clean.with_traceback(error.__traceback__) from None


def redacted(error: Exception) -> Exception:
    """Return an error without secrets; the same object where there are none in it or in its causes."""
    chain = list(_chain(error))
    if not holds_secret(_BETWEEN.join(text for link in chain for text in _error_texts(link))):
        return error
    clean = _clean_copy(error)
    for name in ("retryable", "retry_after", "usage", "quality", "evidence", "refused"):
        if isinstance(error, ToolError) and isinstance(clean, ToolError):
            setattr(clean, name, scrubbed_data(getattr(error, name)))
    return clean


class PiecewiseText:
    """Sequence of texts of which none shows a secret, also not a secret that is split over several."""

    def __init__(self) -> None:
        self._held = ""

    def next(self, text: str) -> str:
        """Return the next text without secrets; an end that may begin one comes with the text after it."""
        text = self._held + text
        self._held = held_back(text)
        return scrubbed(text[: len(text) - len(self._held)]) + (HIDDEN if self._held else "")


class _Redaction(logging.Filter):
    """Takes secrets out of log records, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without secrets."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the handler itself reports a record that does not fit its arguments
            return True
        if holds_secret(message):
            record.msg, record.args = scrubbed(message), None
        if record.exc_info and record.exc_info[0] is not None:
            text = record.exc_text or _FORMATTER.formatException(record.exc_info)
            if holds_secret(text):
                record.exc_text = scrubbed(text)
        return True


_REDACTION = _Redaction()


def redact_logs() -> None:
    """Keep secrets out of what the handlers of all loggers get, from now on; repeated calls change nothing."""
    named_loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in (logging.root, *named_loggers):
        for handler in logger.handlers:
            handler.addFilter(_REDACTION)


def _searched(value: object) -> Iterator[str]:
    """Yield the texts in data for a search: short ones joined, since each search takes time, long ones as they are."""
    joined: list[str] = []
    length = 0
    for text in texts_in(value):
        if len(text) > PIECE:
            yield text
            continue
        joined.append(text)
        length += len(text)
        if length > PIECE:
            yield _BETWEEN.join(joined)
            joined, length = [], 0
    yield _BETWEEN.join(joined)


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {_scrubbed(key): _scrubbed(item) for key, item in mapping.items()}
    if isinstance(value, list | tuple):
        items = [_scrubbed(item) for item in cast("list[Any]", value)]
        return items if isinstance(value, list) else tuple(items)
    return value


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what a traceback shows behind it: its causes, its contexts, and the members of a group."""
    pending, visited = [error], set[int]()
    while pending:
        link = pending.pop()
        if id(link) in visited:
            continue
        visited.add(id(link))
        yield link
        behind = [link.__cause__, None if link.__suppress_context__ else link.__context__]
        members = cast("tuple[BaseException, ...]", link.exceptions) if isinstance(link, BaseExceptionGroup) else ()
        pending += [cause for cause in (*behind, *members) if cause is not None]


def _error_texts(error: BaseException) -> Iterator[str]:
    yield _words(error)
    yield from texts_in(error.args)
    yield from texts_in(getattr(error, "__notes__", ()))
    yield from texts_in(vars(error))


def _words(error: BaseException) -> str:
    try:
        return f"{error}{_BETWEEN}{error!r}"
    except Exception:  # noqa: BLE001 - an error that cannot say what it is
        return ""


def _clean_copy(error: Exception) -> Exception:
    """Return an error of the same type, if its type can be made of one text, that says the same without secrets."""
    message = scrubbed(str(error))
    try:
        clean = type(error)(message)
    except Exception:  # noqa: BLE001 - each type has its own way to be made
        clean = None
    if clean is None or holds_secret(_BETWEEN.join(_error_texts(clean))) or str(clean) not in (message, repr(message)):
        return ToolError(f"{type(error).__name__}: {message}")
    return clean
