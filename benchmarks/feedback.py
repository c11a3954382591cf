"""What artifacts and events add to a run: the wall time of 100 nodes with and without them, alternating.

    python -m benchmarks.feedback

Prints the median seconds of both, and their ratio, which is to stay below 1.10.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import plans
from benchmarks.overhead import timed, work
from vibe_prefect.testing import running_server

NODES = 100
ROUNDS = 5
MOST = 1.10
EVENTS = "PREFECT_INTEGRATIONS_VIBE_PREFECT_EVENTS"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running_server(home / "server") as api:
            os.environ |= {
                "PREFECT_API_URL": api,
                "PREFECT_HOME": str(home / "client"),
                "PREFECT_LOGGING_LEVEL": "CRITICAL",
            }
            asyncio.run(measure(home))


async def measure(home: Path) -> None:
    plan = plans.plan("feedback", [plans.node(f"n{index}", 0.05) for index in range(NODES)])
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for feedback in (True, False):
        await execute(plan, home, feedback=feedback)
    for _ in range(ROUNDS):
        for feedback, times in seconds.items():
            times.append(await timed(lambda told=feedback: execute(plan, home, feedback=told)))
    told, untold = (statistics.median(seconds[feedback]) for feedback in (True, False))
    print(f"{NODES} nodes with feedback {told:.3f} s, without {untold:.3f} s, ratio {told / untold:.2f} (< {MOST:.2f})")


async def execute(plan: Any, home: Path, *, feedback: bool) -> None:
    from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNodeType

    os.environ[EVENTS] = str(feedback).lower()
    executor = WorkflowExecutor(storage=home / "records", output=home / "outputs", artifacts=feedback)
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = await executor.execute_plan(plan)
    assert result.status is ExecutionStatus.COMPLETED, result.get_summary()


if __name__ == "__main__":
    main()
