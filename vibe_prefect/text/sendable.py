"""Text of errors made fit to leave the process: no server, log or terminal chokes on it, and it has a bound."""

from __future__ import annotations

from traceback import TracebackException

from vibe_prefect.characters import UNSENDABLE, escaped
from vibe_prefect.errors import ShownError, ToolError

MAX_ERROR = 1_000_000
"""Characters of an error's text that a node's result, and the run's report, keep."""

MAX_STATE = 2_000
"""Characters of it in a state's message and in feedback."""

MAX_TRACEBACK = 100_000
"""Characters of a traceback that goes to the run's log as it is."""


def sendable(text: str, most: int) -> str:
    r"""Return text with what cannot be sent written as an escape such as `\x00`, and cut to a number of characters.

    Args:
        text: Any text.
        most: How many characters of it are kept; a note says how many were cut.
    """
    excerpt = escaped(text[:most], UNSENDABLE)
    return excerpt if len(text) <= most else f"{excerpt}... ({len(text):,} characters)"


def text_of(error: BaseException) -> str:
    """Return an exception's text, also where its own `__str__` fails or says nothing."""
    try:
        return str(error) or repr(error)
    except Exception:  # noqa: BLE001 - code that is not ours
        return f"{type(error).__name__} without a text of its own"


def shown(error: Exception) -> Exception:
    """Return an error that can be logged and sent: the error itself, or a `ShownError` with what can be sent of it.

    The latter behaves like the error where it is decided whether to try again. Its traceback leads to the same place;
    the errors that it was raised from are left out.

    Args:
        error: Any exception.
    """
    traceback_text = "".join(TracebackException.from_exception(error).format())
    try:
        fits = len(str(error)) <= MAX_STATE and sendable(traceback_text, MAX_TRACEBACK) == traceback_text
    except Exception:  # noqa: BLE001 - its `__str__` is code that is not ours
        fits = False
    if fits:
        return error
    replacement = ShownError(f"{type(error).__name__}: {sendable(text_of(error), MAX_STATE)}", error)
    if isinstance(error, ToolError):
        replacement.retryable, replacement.retry_after = error.retryable, error.retry_after
    return replacement.with_traceback(error.__traceback__)
