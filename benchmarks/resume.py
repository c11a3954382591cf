"""What resuming finished nodes costs, on one standing server, in one run.

    python -m benchmarks.resume

Prints, for growing plans in which everything has finished, the seconds of a resume, the records read, and milliseconds
a node on top of the resume of a plan of one node.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path
from typing import Any

from typing_extensions import override

from benchmarks.overhead import timed, work
from benchmarks.server import standing_server
from vibe_prefect import NodeResult, RunObserver, WorkflowNode

SIZES = (1, 250, 500, 1000)
ROUNDS = 3


def main() -> None:
    with standing_server() as (home, _):
        asyncio.run(measure(home))


async def measure(home: Path) -> None:
    from benchmarks import plans

    sys.stdout.write(f"{'finished nodes':>14} {'resume':>10} {'records read':>14} {'a node':>10}\n")
    start = 0.0
    for size in SIZES:
        seconds, read = await resume(plans.wide(size), home)
        start = start or seconds
        each = f"{1000 * (seconds - start) / (size - 1):.2f} ms" if size > 1 else "-"
        sys.stdout.write(f"{size:>14,} {seconds:>8.2f} s {read:>14,} {each:>10}\n")
        sys.stdout.flush()


async def resume(plan: Any, home: Path) -> tuple[float, int]:
    """Return the median seconds of resuming a finished run of a plan, and how many of its nodes were kept."""
    from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNodeType

    executor = WorkflowExecutor(storage=home / "records", output=home / "outputs")
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    await executor.execute_plan(plan)
    assert executor.last_run is not None
    finished = str(executor.last_run.flow_run_id)
    counter = Counter()
    resuming = WorkflowExecutor(storage=home / "records", output=home / "outputs", observers=[counter])
    resuming.node_handlers = executor.node_handlers

    async def go_on() -> None:
        counter.kept = 0
        result = await resuming.execute_plan(plan, resume_from=finished)
        assert result.status is ExecutionStatus.COMPLETED

    seconds = statistics.median([await timed(go_on) for _ in range(ROUNDS)])
    assert counter.kept == len(plan.root_nodes)
    return seconds, counter.kept


class Counter(RunObserver):
    """An observer that counts the nodes that were kept."""

    kept = 0

    def node_started(self, node: WorkflowNode) -> None:
        raise AssertionError(f"{node.id} had finished, and is executed again")

    @override
    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        self.kept += 1


if __name__ == "__main__":
    main()
