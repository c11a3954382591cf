"""Errors of providers: whether trying again may help, and when. No key is in their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.tools.secrecy.known import scrubbed
from vibe_prefect.tools.waits import asks_to_wait, retry_after

if TYPE_CHECKING:
    from pydantic_ai.exceptions import ModelAPIError

MAX_SAID = 500
"""Characters of a provider's own message that are repeated."""


def tool_error(error: Exception, model: str, seconds: float) -> ToolError:
    """Return what a failed call becomes.

    A refused key or request is final, as is an exhausted account. A rate limit waits as the provider says. Timeouts,
    broken connections, errors of the provider's (5xx) and answers that are no answers may be tried again.

    Args:
        error: What the client library raised.
        model: The model that was asked.
        seconds: How long the call may take.
    """
    from pydantic_ai import exceptions as theirs

    message = shorten(scrubbed(_message(error)), MAX_SAID)
    match error:
        case TimeoutError() | theirs.ModelTimeoutError() | theirs.ModelRequestTimeout():
            return ToolError(f"{model}: timeout: no whole answer within {seconds:g} s")
        case theirs.ModelConnectionError():
            return ToolError(f"{model}: the connection failed: {message}")
        case theirs.ModelAPIError():
            return _refusal(error, model, message)
        case theirs.ContentFilterError():
            return ToolError(f"{model}: the provider's content filter stopped the answer: {message}", retryable=False)
        case theirs.UserError() | ImportError():
            return ToolError(f"{model}: it cannot be asked: {message}", retryable=False)
        case theirs.UnexpectedModelBehavior() | ValueError():
            return ToolError(f"{model}: the answer makes no sense: {message}")
        case _:
            return ToolError(f"{model}: {type(error).__name__}: {message}")


def no_stream(body: str, model: str) -> ToolError:
    """Return what an answer becomes that is one object and no stream: it may be paid, so it is not asked for again.

    Args:
        body: How it begins.
        model: The model that was asked.
    """
    excerpt = shorten(scrubbed(body), MAX_SAID)
    return ToolError(f"{model}: the server answered with one object and not a stream: {excerpt}", retryable=False)


def _refusal(error: ModelAPIError, model: str, message: str) -> ToolError:
    from pydantic_ai import exceptions as theirs

    status = getattr(error, "status_code", None)
    code = f" (HTTP {status})" if status else ""
    match error:
        case theirs.ModelAuthenticationError():
            return ToolError(f"{model}: the key was refused{code}: {message}", retryable=False)
        case theirs.ModelQuotaExceededError():
            return ToolError(f"{model}: the account is exhausted{code}: {message}", retryable=False)
        case theirs.ModelRateLimitError():
            wait = error.retry_after or retry_after(_headers(error))
            return ToolError(f"{model}: too many requests{code}: {message}", retry_after=wait, asks_to_wait=True)
        case theirs.ModelRequestRejectedError():
            return ToolError(f"{model}: the request was refused{code}: {message}", retryable=False)
        case _:
            pass
    is_final = isinstance(status, int) and 400 <= status < 500 and status not in (408, 409, 425)
    return ToolError(
        f"{model}: the provider failed{code}: {message}",
        retryable=not is_final,
        retry_after=error.retry_after,
        asks_to_wait=isinstance(status, int) and asks_to_wait(status, error.retry_after),
    )


def _headers(error: ModelAPIError) -> dict[str, str]:
    return getattr(error, "headers", None) or {}


def _message(error: Exception) -> str:
    """Return what an error says, and what it came from where its own words say little, as 'Connection error.' does."""
    body = getattr(error, "body", None)
    text = _said_in(body) if body else str(error) or type(error).__name__
    cause = error.__cause__
    deeper = cause.__cause__ if cause is not None else None
    return f"{text} ({type(deeper).__name__}: {deeper})" if deeper is not None and not body else text


def _said_in(body: object) -> str:
    """Return the message in an error's body, as OpenAI and Anthropic have it; of another body, all of it."""
    message: Any = body
    for name in ("error", "message"):
        message = cast("dict[str, Any]", message).get(name, message) if isinstance(message, dict) else message
    return message if isinstance(message, str) and message.strip() else str(body)
