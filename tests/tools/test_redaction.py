"""What leaves a node: results, errors with all that is behind them, progress, log records."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect.errors import BudgetExceededError, ToolError
from vibe_prefect.testing import run_offline
from vibe_prefect.tools import ToolRegistry, ToolResult, tool
from vibe_prefect.tools.functions import ToolInputError
from vibe_prefect.tools.secrecy.known import remember
from vibe_prefect.tools.secrecy.redaction import PiecewiseText, redact_logs, redacted, redacted_errors, scrubbed_data

KEY = "sk-canary-66cc77dd"
remember(KEY)


def test_data_is_clean_in_all_its_parts_and_untouched_where_there_is_nothing() -> None:
    data = {"a": [1, f"x {KEY}", {KEY: (KEY, None, True)}], "b": "fine"}
    assert scrubbed_data(data) == {"a": [1, "x ***", {"***": ("***", None, True)}], "b": "fine"}
    clean = {"a": [1, "x", {"c": ("d", None)}]}
    assert scrubbed_data(clean) is clean


class OddError(Exception):
    """Cannot be made of one text."""

    def __init__(self, first: int, *, second: str) -> None:
        super().__init__(first, second)


def behind(error: Exception, cause: BaseException | None = None, context: BaseException | None = None) -> Exception:
    error.__cause__, error.__context__ = cause, context
    return error


def noted(error: Exception) -> Exception:
    error.add_note(f"sent {KEY}")
    return error


def with_body(error: Exception) -> Exception:
    vars(error)["body"] = {"error": [f"Bearer {KEY}"]}
    return error


ERRORS: dict[str, tuple[Callable[[], Exception], type[Exception]]] = {
    "its own words": (lambda: ValueError(f"bad {KEY}"), ValueError),
    "a key error": (lambda: KeyError(KEY), KeyError),
    "two arguments": (lambda: OSError(5, f"bad {KEY}", f"folder/{KEY}"), OSError),
    "a made-up type": (lambda: OddError(1, second=KEY), ToolError),
    "bytes": (lambda: ValueError(f"{KEY}\n".encode()), ValueError),
    "undecodable": (lambda: UnicodeDecodeError("utf-8", f"{KEY}".encode(), 0, 1, KEY), ToolError),
    "a cause": (lambda: behind(ToolError("failed"), ValueError(KEY)), ToolError),
    "a context": (lambda: behind(ToolError("failed"), None, ValueError(KEY)), ToolError),
    "a deep cause": (lambda: behind(ToolError("a"), behind(ValueError("b"), None, ValueError(KEY))), ToolError),
    "a group": (lambda: ExceptionGroup("all", [ValueError("a"), ValueError(KEY)]), ToolError),
    "a note": (lambda: noted(ToolInputError("failed")), ToolInputError),
    "an attribute": (lambda: with_body(RuntimeError("failed")), RuntimeError),
    "a budget": (lambda: BudgetExceededError(KEY), BudgetExceededError),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_clean_with_all_that_is_behind_it(name: str) -> None:
    make, expected = ERRORS[name]
    with pytest.raises(expected) as caught, redacted_errors():
        raise make()
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(vars(caught.value))
    assert KEY not in shown
    assert caught.traceback[-1].name == "test_an_error_is_clean_with_all_that_is_behind_it", (
        "where it came from is kept"
    )


def test_what_an_error_says_beside_its_words_is_kept() -> None:
    error = ToolError(f"bad {KEY}", retryable=False, retry_after=3)
    error.usage = {"model": KEY, "requests": 1}
    clean = redacted(error)
    assert isinstance(clean, ToolError)
    assert (str(clean), clean.retryable, clean.retry_after) == ("bad ***", False, 3)
    assert clean.usage == {"model": "***", "requests": 1}
    harmless = behind(ValueError("a"), OSError("b"))
    assert redacted(harmless) is harmless


@pytest.mark.parametrize("cuts", [(3,), (6,), (6, 10), (5, 9, 14), (17,)])
def test_a_key_in_several_messages_does_not_show(cuts: tuple[int, ...]) -> None:
    text, pieces = f"the key is {KEY}", PiecewiseText()
    starts = [0, *(11 + cut for cut in cuts), len(text)]
    shown = [pieces.next(text[start:end]) for start, end in pairwise(starts)]
    joined = "".join(shown)
    assert not any(KEY[at : at + 6] in joined for at in range(len(KEY) - 5)), shown
    assert pieces.next(" and more") == " and more"


def test_what_only_looks_like_a_beginning_is_shown_in_the_end() -> None:
    pieces = PiecewiseText()
    assert [pieces.next("a sk-cana"), pieces.next("pes"), pieces.next("b")] == ["a ***", "sk-canapes", "b"]


def test_log_records_are_clean_with_their_tracebacks() -> None:
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger("vibe_prefect.tests.logs")
    logger.addHandler(handler)
    try:
        redact_logs()
        redact_logs()
        try:
            raise ValueError(f"bad {KEY}")
        except ValueError:
            logger.exception("it failed with %s", {"key": KEY})
        logger.warning("it says %d things", 3)
    finally:
        logger.removeHandler(handler)
    assert KEY not in stream.getvalue()
    assert "it failed with {'key': '***'}" in stream.getvalue()
    assert "ValueError: bad ***" in stream.getvalue()
    assert "it says 3 things" in stream.getvalue()


async def test_a_tool_cannot_let_a_key_out(tmp_path: Path) -> None:
    @tool(version="1")
    def says() -> ToolResult:
        """Say the key."""
        return ToolResult(True, {"text": f"it is {KEY}"}, metadata={"usage": {"model": KEY}})

    @tool(version="1")
    def reports() -> ToolResult:
        """Report failure with the key."""
        return ToolResult(False, None, error=f"bad {KEY}")

    @tool(version="1")
    def raises() -> str:
        """Raise an error with the key."""
        raise ValueError(f"bad {KEY}") from OSError(KEY)

    tools = ToolRegistry()
    for one in (says, reports, raises):
        tools.register(one)
    nodes = [node(name, parameters={"tool": name}) for name in ("says", "reports", "raises")]
    result = await run_offline(plan(*nodes), tools, input_root=tmp_path, output=tmp_path)
    shown: Any = {id: (one.result, one.error) for id, one in result.node_results.items()}
    assert shown["says"][0]["result"] == {"text": "it is ***"}
    assert shown["reports"][1] == "Tool execution failed: bad ***"
    assert shown["raises"][1] == "bad ***"
    assert KEY not in repr(shown) + repr(result.feedback_data)
