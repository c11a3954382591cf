"""Errors whose text no server or terminal should get as it is."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import NodeContext, ToolRegistry, WorkflowNode, tool
from vibe_prefect.cli.display.lines import MAX_BRIEF, brief, error_lines
from vibe_prefect.errors import ShownError, ToolError
from vibe_prefect.text.sendable import MAX_ERROR, MAX_STATE, sendable, shown, text_of

LONG = 5_000_000


class SilentError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def noted() -> Exception:
    error = ValueError("fine")
    error.add_note("a\0b")
    return error


def caused() -> Exception:
    error = ValueError("fine")
    error.__cause__ = ValueError("a\0b")
    return error


TEXTS = [
    ("plain\n\twords", "plain\n\twords"),
    ("a\0b", "a\\x00b"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("ol\udce9", "ol\\udce9"),
    ("ab" * 10, "ababababab... (20 characters)"),
    ("é 漢 🎈", "é 漢 🎈"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_text_is_made_fit_to_be_sent(text: str, expected: str) -> None:
    assert sendable(text, 15 if len(text) < 20 else 10) == expected


def test_error_that_is_fit_is_shown_as_it_is() -> None:
    for error in (ValueError("no\nway"), ToolError("x"), ValueError()):
        assert shown(error) is error


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ValueError("a\0b"), "ValueError: a\\x00b"),
        (lambda: ValueError("x" * 5_000), f"ValueError: {'x' * MAX_STATE}... (5,000 characters)"),
        (SilentError, "SilentError: SilentError without a text of its own"),
        (noted, "ValueError: fine"),
        (caused, "ValueError: fine"),
    ],
)
def test_error_that_is_not_is_shown_by_another(make: Callable[[], Exception], expected: str) -> None:
    error = make()
    made = shown(error)
    assert isinstance(made, ShownError)
    assert str(made) == expected
    assert made.original is error
    copied = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert (str(copied), copied.original) == (expected, None)


def test_shown_error_says_whether_to_try_again() -> None:
    made = shown(ToolError("a\0b", retryable=False, retry_after=3))
    assert isinstance(made, ToolError)
    assert (made.retryable, made.retry_after) == (False, 3)


def test_terminal_gets_one_lines_worth_of_an_error() -> None:
    assert brief("x" * LONG) == f"{'x' * MAX_BRIEF}... (5,000,000 characters)"
    assert brief("a\n b\0") == "a b\\x00"
    assert error_lines("first\n  second\0") == ["first", "  second\\x00"]
    assert all(len(line) <= MAX_BRIEF + 3 for line in error_lines("x" * LONG))
    assert error_lines(None) == ["no message"]


@tool(version="1")
def fail(kind: str) -> None:
    """Fail."""
    raise make_error(kind)


def make_error(kind: str) -> Exception:
    return {
        "nul": lambda: RuntimeError("a\0b"),
        "surrogate": lambda: RuntimeError("ol\udce9"),
        "long": lambda: RuntimeError("x" * LONG),
        "silent": SilentError,
        "tool": lambda: ToolError("a\0b"),
    }[kind]()


EXPECTED = {
    "nul": "a\\x00b",
    "surrogate": "ol\\udce9",
    "long": f"{'x' * MAX_ERROR}... (5,000,000 characters)",
    "silent": text_of(SilentError()),
    "tool": "a\\x00b",
}


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_error_of_any_text_fails_its_node_and_stays_small_on_the_server(caplog: pytest.LogCaptureFixture) -> None:
    nodes = [node(kind, parameters={"tool": "fail", "tool_inputs": {"kind": kind}}) for kind in EXPECTED]
    runner = executor(tool_registry=ToolRegistry([fail]), wait_recorded=True)
    with caplog.at_level(logging.ERROR):
        result = await runner.execute_plan(plan(*nodes))
    assert {id: one.error for id, one in result.node_results.items()} == EXPECTED
    assert all(len(feedback["error_message"]) < MAX_STATE + 100 for feedback in result.feedback_data.values())
    assert runner.last_run is not None
    assert runner.last_run.recorded == len(nodes)
    async with get_client() as client:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[runner.last_run.flow_run_id]))
        tasks = await client.read_task_runs(flow_run_filter=wanted)
        flows = await client.read_flow_runs(flow_run_filter=wanted)
    runs: list[Any] = [*tasks, *flows]
    messages = [run.state.message for run in runs]
    assert all(sendable(message, 10_000) == message for message in messages)
    assert all(sendable(record.getMessage(), 10_000) == record.getMessage() for record in caplog.records)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_handler_catches_what_its_tool_raised_whatever_the_text() -> None:
    async def handler(node: WorkflowNode, context: NodeContext) -> str:
        try:
            await context.call_tool("fail", {"kind": "nul"})
        except RuntimeError as error:
            return type(error).__name__
        return "nothing"

    result = await executor(handler, tool_registry=ToolRegistry([fail])).execute_plan(plan(node("a")))
    assert result.node_results["a"].result == "RuntimeError"
