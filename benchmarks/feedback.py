"""What artifacts and events add to a run: the wall time of 100 nodes with and without them, alternating.

    python -m benchmarks.feedback

Prints the median seconds of both, and their ratio, which is to stay below 1.10 for nodes that do any work.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from pathlib import Path
from typing import Any

from benchmarks import plans
from benchmarks.overhead import timed, work
from benchmarks.server import standing_server

NODES = 100
AT_ONCE = 8
ROUNDS = 5
WORK_SECONDS = (0.2, 0.0)
"""What a node's work takes: a fraction of the quickest call to a model; and nothing, which shows the bare cost."""

EVENTS = "PREFECT_INTEGRATIONS_VIBE_PREFECT_EVENTS"


def main() -> None:
    with standing_server() as (home, _):
        asyncio.run(measure(home))


async def measure(home: Path) -> None:
    for work_seconds in WORK_SECONDS:
        plan = plans.plan("feedback", [plans.node(f"n{index}", work_seconds) for index in range(NODES)])
        told, untold = await compare(plan, home)
        print(f"{NODES} nodes of {work_seconds:g} s, {AT_ONCE} at once: ", end="")
        print(f"with feedback {told:.3f} s, without {untold:.3f} s, ratio {told / untold:.2f}", flush=True)


async def compare(plan: Any, home: Path) -> tuple[float, float]:
    """Return the median seconds of a run with feedback, and of one without."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for feedback in (True, False):
        await execute(plan, home, feedback=feedback)
    for _ in range(ROUNDS):
        for feedback, times in seconds.items():
            times.append(await timed(lambda told=feedback: execute(plan, home, feedback=told)))
    return statistics.median(seconds[True]), statistics.median(seconds[False])


async def execute(plan: Any, home: Path, *, feedback: bool) -> None:
    from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNodeType

    os.environ[EVENTS] = str(feedback).lower()
    executor = WorkflowExecutor(
        storage=home / "records", output=home / "outputs", artifacts=feedback, concurrency=AT_ONCE
    )
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = await executor.execute_plan(plan)
    assert result.status is ExecutionStatus.COMPLETED, result.get_summary()


if __name__ == "__main__":
    main()
