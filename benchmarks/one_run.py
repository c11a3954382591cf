"""One measurement in this process, on the server that the environment names; prints its figures as a line of JSON.

    python -m benchmarks.one_run direct|submitted|ours|feedback|no-feedback|resume SHAPE NODES [SECONDS]
    python -m benchmarks.one_run ours|direct straggler|realistic
    python -m benchmarks.one_run compile NODES

The clock starts after a run of two nodes, which loads what a process loads once.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.shapes import SHAPES, Needs
from benchmarks.work import forget, makespan, work_for

AT_ONCE = 8
"""Nodes at once where the cost of feedback is measured: as many as an endpoint of a model commonly takes."""


def main(way: str, *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if way == "compile":
            figures = compile_large(int(arguments[0]))
        else:
            figures = asyncio.run(measured(way, arguments, Path(folder)))
    sys.stdout.write(json.dumps(figures) + "\n")


def compile_large(count: int) -> dict[str, float]:
    from benchmarks import plans
    from vibe_prefect import compile_plan

    compile_plan(plans.large(200))
    plan = plans.large(count)
    begun = time.perf_counter(), time.process_time()
    return timed_from(*begun, compile_plan(plan))


async def measured(way: str, arguments: tuple[str, ...], folder: Path) -> dict[str, float]:
    make, call = WAYS[way]
    await call(make("wide", "2"), folder, lambda: None)
    begun = (0.0, 0.0)

    def begin() -> None:
        nonlocal begun
        forget()
        begun = time.perf_counter(), time.process_time()

    subject = make(*arguments)
    await call(subject, folder, begin)
    return timed_from(*begun, subject)


def timed_from(clock: float, cpu: float, subject: object) -> dict[str, float]:
    """Return the figures of what has just ended.

    Args:
        clock: When it began, by the clock.
        cpu: Likewise by the CPU seconds of this process.
        subject: What was measured; kept until now for the memory that it takes.
    """
    seconds, computed = time.perf_counter() - clock, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert subject is not None
    return {"seconds": seconds, "cpu": computed, "peak_mb": peak, "makespan": makespan()}


Work = tuple[Needs, Mapping[str, float]]
"""The dependencies of each node, and the seconds that it takes."""


def needs_of(shape: str, count: str = "2", seconds: str = "0") -> Work:
    if shape not in SHAPES:
        from benchmarks import plans

        return plans.needs_of(plans.BY_NAME[shape]())
    needs = SHAPES[shape](int(count))
    return needs, dict.fromkeys(needs, float(seconds))


def plan_of(shape: str, count: str = "2", seconds: str = "0") -> Any:
    from benchmarks import plans

    return (
        plans.BY_NAME[shape]() if shape in plans.BY_NAME else plans.of_needs(SHAPES[shape](int(count)), float(seconds))
    )


async def direct(subject: Work, _: Path, begin: Callable[[], None]) -> None:
    from benchmarks import by_hand

    begin()
    await by_hand.direct(*subject)


async def submitted(subject: Work, _: Path, begin: Callable[[], None]) -> None:
    from benchmarks import by_hand

    begin()
    await by_hand.submitted(*subject)


async def ours(plan: Any, folder: Path, begin: Callable[[], None], **options: Any) -> None:
    await execute(plan, executor(folder, **options), begin)


async def with_feedback(plan: Any, folder: Path, begin: Callable[[], None]) -> None:
    await ours(plan, folder, begin, concurrency=AT_ONCE)


async def no_feedback(plan: Any, folder: Path, begin: Callable[[], None]) -> None:
    os.environ["PREFECT_INTEGRATIONS_VIBE_PREFECT_EVENTS"] = "false"
    await ours(plan, folder, begin, artifacts=False, concurrency=AT_ONCE)


async def resume(plan: Any, folder: Path, begin: Callable[[], None]) -> None:
    first = executor(folder)
    await execute(plan, first, lambda: None)
    await settled()
    assert first.last_run is not None
    await execute(plan, executor(folder), begin, resume_from=str(first.last_run.flow_run_id))


Way = tuple[Callable[..., Any], Callable[..., Awaitable[None]]]
"""Makes what is measured from the arguments; runs it, and says when the clock starts."""

WAYS: dict[str, Way] = {
    "direct": (needs_of, direct),
    "submitted": (needs_of, submitted),
    "ours": (plan_of, ours),
    "feedback": (plan_of, with_feedback),
    "no-feedback": (plan_of, no_feedback),
    "resume": (plan_of, resume),
}


def executor(folder: Path, **options: Any) -> Any:
    from vibe_prefect import WorkflowExecutor, WorkflowNodeType

    made = WorkflowExecutor(storage=folder / "records", output=folder / "outputs", **options)
    made.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    return made


async def work(node: Any) -> dict[str, Any]:
    await work_for(node.parameters["seconds"])
    return {"result": f"done {node.id}"}


async def execute(plan: Any, executor: Any, begin: Callable[[], None], **options: Any) -> None:
    from vibe_prefect import ExecutionStatus

    begin()
    result = await executor.execute_plan(plan, **options)
    assert result.status is ExecutionStatus.COMPLETED, result.get_summary()


SETTLE_BOUND = 1_800.0
"""Seconds that the server may take to record what it was sent."""


FINAL = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]}}}


async def settled() -> None:
    """Wait until the server has recorded the end of every task run that it was sent, and each event.

    Its backlog would be measured too. An event of this function's own is behind all others.
    """
    from prefect.client.orchestration import get_client
    from prefect.events import emit_event

    last = f"benchmark.settled.{uuid4()}"
    emit_event("benchmark.settled", {"prefect.resource.id": last})
    end = time.monotonic() + SETTLE_BOUND
    counts: list[int] = []
    async with get_client() as client:

        async def count(path: Any, asked: dict[str, Any]) -> Any:
            return (await client.request("POST", path, json=asked)).json()

        while time.monotonic() < end:
            counts.append(int(await count("/task_runs/count", {"task_runs": FINAL})))
            if len(counts) > 3 and len(set(counts[-4:])) == 1:
                found = await count("/events/filter", {"filter": {"resource": {"id": [last]}}})
                if found["events"]:
                    return
            await asyncio.sleep(0.5)
    raise TimeoutError(f"the server still records what it was sent after {SETTLE_BOUND:g} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
