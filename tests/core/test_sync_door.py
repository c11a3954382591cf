"""Plain code that runs a coroutine, and a plan, to its end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.executors import Worker, executor
from tests.plans import node, plan
from vibe_prefect import ExecutionResult, ExecutionStatus
from vibe_prefect.core.sync_door import run_to_end

mark = contextvars.ContextVar("mark", default="")


def within_a_loop(call: Callable[[], Any]) -> Any:
    async def notebook() -> Any:
        return call()

    return asyncio.run(notebook())


WAYS: list[Callable[[Callable[[], Any]], Any]] = [lambda call: call(), within_a_loop]


@pytest.mark.parametrize("way", WAYS, ids=["plain", "within a loop"])
def test_a_coroutine_is_run_to_its_end_in_the_callers_context(way: Callable[[Callable[[], Any]], Any]) -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        if mark.get() != "seen":
            raise ValueError("another context")
        return threading.current_thread().name

    with pytest.raises(ValueError, match="another context"):
        way(lambda: run_to_end(look))
    token = mark.set("seen")
    try:
        assert way(lambda: run_to_end(look))
    finally:
        mark.reset(token)


@pytest.mark.server
@pytest.mark.parametrize("way", WAYS, ids=["plain", "within a loop"])
def test_a_plan_is_run_to_its_end(way: Callable[[Callable[[], Any]], Any], prefect_server: str, folder: Path) -> None:
    worker = Worker(failing={"bad"})
    subject = executor(worker)
    first: ExecutionResult = way(lambda: subject.execute_plan_sync(plan(node("a"), node("bad", needs=["a"]))))
    assert first.status is ExecutionStatus.FAILED
    assert subject.last_run is not None
    worker.failing.clear()
    earlier = subject.last_run.name
    second: ExecutionResult = way(
        lambda: subject.execute_plan_sync(plan(node("a"), node("bad", needs=["a"])), resume_from=earlier)
    )
    assert second.status is ExecutionStatus.COMPLETED
    assert worker.executed == ["a", "bad", "bad"]
