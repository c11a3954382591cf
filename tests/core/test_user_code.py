"""Tools, handlers and callbacks that raise what is no error, hang, or block: each hurts its own node at most."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import types
from collections.abc import Callable, Generator
from typing import Any

import pytest
from prefect import task

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionStatus,
    NodeContext,
    RunObserver,
    ToolRegistry,
    WorkflowNode,
    tool,
)
from vibe_prefect.core.user_code import call_in_thread, contained
from vibe_prefect.engine.run import loop_watch, task_runner
from vibe_prefect.errors import UserExitError
from vibe_prefect.testing import run_offline

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


class OddError(BaseException):
    """Derived from BaseException, as some libraries do to get past `except Exception`."""


async def cancel_an_inner_task() -> None:
    inner = asyncio.get_running_loop().create_future()
    inner.cancel("by the client")
    await inner


def leave_by(error: BaseException) -> None:
    raise error


ESCAPES: list[tuple[Callable[[], BaseException], str]] = [
    (lambda: SystemExit(3), "SystemExit: 3"),
    (SystemExit, "SystemExit"),
    (GeneratorExit, "GeneratorExit"),
    (lambda: OddError("odd"), "OddError: odd"),
    (lambda: asyncio.CancelledError("by the client"), "CancelledError: by the client"),
    (lambda: BaseExceptionGroup("several", [SystemExit(3)]), "BaseExceptionGroup: several (1 sub-exception)"),
]


def done(node: WorkflowNode) -> str:
    return "done"


def number_of(escape: Callable[[], BaseException]) -> int:
    return [one for one, _ in ESCAPES].index(escape)


def sync_handler(escape: Callable[[], BaseException]) -> Callable[..., Any]:
    def handler(node: WorkflowNode) -> None:
        leave_by(escape())

    return handler


def async_handler(escape: Callable[[], BaseException]) -> Callable[..., Any]:
    async def handler(node: WorkflowNode) -> None:
        await asyncio.sleep(0)
        leave_by(escape())

    return handler


def generator_handler(escape: Callable[[], BaseException]) -> Callable[..., Any]:
    @types.coroutine
    def handler(node: WorkflowNode) -> Generator[None]:
        yield
        leave_by(escape())

    return handler


def tool_calling_handler(escape: Callable[[], BaseException]) -> Callable[..., Any]:
    async def handler(node: WorkflowNode, context: NodeContext) -> Any:
        return await context.call_tool("leave", {"number": number_of(escape)})

    return handler


@tool(version="1")
async def leave(number: int) -> None:
    """Leave by one of the ways."""
    leave_by(ESCAPES[number][0]())


HANDLERS = [sync_handler, async_handler, generator_handler, tool_calling_handler]


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
@pytest.mark.parametrize("make", HANDLERS)
async def test_handler_that_leaves_by_no_error_fails_its_node_alone(make: Callable[..., Any]) -> None:
    handlers = {f"n{index}": make(escape) for index, (escape, _) in enumerate(ESCAPES)}

    def handler(node: WorkflowNode, context: NodeContext) -> Any:
        chosen = handlers.get(node.id)
        if chosen is None:
            return {"text": node.id}
        return chosen(node, context) if make is tool_calling_handler else chosen(node)

    nodes = [*(node(id) for id in handlers), node("fine"), node("later", needs=["fine"])]
    result = await executor(handler, tool_registry=ToolRegistry([leave])).execute_plan(plan(*nodes))
    assert [result.node_results[id].error for id in handlers] == [text for _, text in ESCAPES]
    assert result.feedback_data["n0"]["error_type"] == "SystemExit"
    assert result.ids(COMPLETED) == ("fine", "later")


prefect_task: Any = task
"""Untyped: Prefect's overloads of `submit` say less than they should."""


@prefect_task
def leave_in_a_prefect_task() -> None:
    sys.exit(3)


@prefect_task
def hang_in_a_prefect_task(let_go: threading.Event) -> None:
    let_go.wait()


async def leave_soon() -> None:
    sys.exit(3)


async def close_soon() -> None:
    raise GeneratorExit("closed")


def leave_a_task_behind() -> None:
    LEFT_BEHIND.append(asyncio.create_task(leave_soon()))


async def leave_a_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(sys.exit, 3))


LEFT_BEHIND: list[asyncio.Task[None]] = []
EXITED = "SystemExit: 3"


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
# Prefect does not await its own clean-up where a sync task leaves within an async one.
@pytest.mark.filterwarnings("ignore:coroutine 'AsyncTransaction.rollback':RuntimeWarning")
async def test_tasks_and_threads_that_a_handler_starts_hurt_its_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runner, "SUBMITTED_SECONDS", 0.1)
    let_go = threading.Event()

    async def handler(node: WorkflowNode) -> Any:
        match node.id:
            case "called":
                return leave_in_a_prefect_task()
            case "submitted":
                return leave_in_a_prefect_task.submit().result()
            case "hung":
                return hang_in_a_prefect_task.submit(let_go) and "left"
            case "task":
                return await asyncio.create_task(leave_soon())
            case "generator":
                return await asyncio.create_task(close_soon())
            case "group":
                return await leave_a_task_group()
            case "behind":
                return leave_a_task_behind()
            case _:
                return await asyncio.sleep(0.1, "done")

    nodes = [node(id) for id in ("called", "submitted", "hung", "task", "generator", "group", "behind", "fine")]
    try:
        result = await executor(handler).execute_plan(plan(*nodes, node("later", needs=["fine"])))
    finally:
        let_go.set()
    errors = {id: found.error for id, found in result.node_results.items() if found.error}
    assert {id: str(errors[id]).partition(" (")[0] for id in errors} == {
        "called": EXITED,
        "submitted": EXITED,
        "task": EXITED,
        "generator": "GeneratorExit: closed",
        "group": "unhandled errors in a TaskGroup",
    }
    assert isinstance(LEFT_BEHIND[0].exception(), UserExitError)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_tool_whose_own_inner_task_was_cancelled_is_tried_again() -> None:
    attempts: list[str] = []

    async def handler(node: WorkflowNode) -> str:
        attempts.append(node.id)
        if len(attempts) == 1:
            await cancel_an_inner_task()
        return "done"

    result = await executor(handler).execute_plan(plan(node("a", policy={"retries": 1, "retry_delay": 0})))
    assert (result.status, attempts) == (COMPLETED, ["a", "a"])


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_run_that_is_cancelled_still_ends_when_a_tool_answers_with_an_exit() -> None:
    at_work = asyncio.Event()

    async def handler(node: WorkflowNode) -> None:
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            sys.exit(3)

    running = asyncio.create_task(executor(handler).execute_plan(plan(node("a"))))
    await asyncio.wait_for(at_work.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)


class LeavingObserver(RunObserver):
    """Leaves at each step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getattribute__(self, name: str) -> Any:
        if name.startswith(("run_", "node_", "feedback_")):
            leave_by(object.__getattribute__(self, "error"))
        return object.__getattribute__(self, name)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
@pytest.mark.parametrize("error", [SystemExit(3), ValueError("broken"), asyncio.CancelledError()])
async def test_observers_that_leave_change_nothing(error: BaseException) -> None:
    seen: list[str] = []

    def callback(event: Any) -> None:
        seen.append(event.event_type)
        leave_by(error)

    runner = executor(done, observers=[LeavingObserver(error)], progress_callback=callback, checkpoint_interval=1)
    result = await runner.execute_plan(plan(node("a"), node("b", needs=["a"])))
    assert result.status is COMPLETED
    assert (seen[0], seen[-1]) == ("workflow_started", "workflow_completed")
    assert runner.last_checkpoint_id is not None


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_slow_observer_does_not_use_up_the_timeout_of_a_node() -> None:
    def slow(event: Any) -> None:
        if event.event_type == "node_started":
            time.sleep(1.5)  # the slowness is what is tested

    runner = executor(done, progress_callback=slow)
    result = await runner.execute_plan(plan(node("a", policy={"timeout": 1})))
    assert result.node_results["a"].error is None


@pytest.mark.parametrize(("escape", "text"), ESCAPES)
async def test_offline_run_contains_what_a_tool_leaves_by(escape: Callable[[], BaseException], text: str) -> None:
    bad = node("bad", parameters={"tool": "leave", "tool_inputs": {"number": number_of(escape)}})
    result = await run_offline(plan(bad), ToolRegistry([leave]))
    assert result.node_results["bad"].error == text


async def test_signal_passes_the_border() -> None:
    with pytest.raises(KeyboardInterrupt), contained():
        raise KeyboardInterrupt
    with pytest.raises(BaseExceptionGroup), contained():
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), SystemExit(3)])


def test_coroutine_that_its_loop_left_behind_can_be_closed() -> None:
    async def wait() -> None:
        with contained():
            await asyncio.Event().wait()

    async def begin() -> None:
        work.send(None)

    work = wait()
    asyncio.run(begin())
    work.close()
    assert work.cr_frame is None


async def test_interrupt_that_a_thread_raises_is_its_own() -> None:
    with pytest.raises(UserExitError, match=r"^KeyboardInterrupt$"):
        await call_in_thread(leave_by, KeyboardInterrupt())


async def test_thread_that_hangs_is_abandoned_and_keeps_neither_process_nor_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vibe_prefect.core.user_code.MAX_THREADS", 1)
    let_go, at_work = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        at_work.set()
        let_go.wait()

    call = asyncio.create_task(call_in_thread(hang))
    assert await asyncio.to_thread(at_work.wait, 60)
    call.cancel()
    try:
        assert await asyncio.wait_for(call_in_thread(lambda: "next"), 60) == "next"
        assert threads[0].is_alive()
        assert threads[0].daemon
    finally:
        let_go.set()


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_node_that_blocks_the_event_loop_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop_watch, "BLOCKED_SECONDS", 0.2)
    monkeypatch.setattr(loop_watch, "BEAT_SECONDS", 0.05)
    end = time.monotonic() + 60

    async def block(node: WorkflowNode) -> str:
        while node.id == "bad" and not caplog.records and time.monotonic() < end:
            time.sleep(0.05)  # noqa: ASYNC251 - the blocking is what is tested
        return "done"

    with caplog.at_level(logging.WARNING, logger=loop_watch.__name__):
        await executor(block).execute_plan(plan(node("bad"), node("fine")))
    assert "The node 'bad' has blocked the event loop for 0.2 s" in caplog.records[0].getMessage()
    assert len(caplog.records) == 1
