"""What the engine costs beside a Prefect flow written by hand, on one standing server, interleaved in one run.

    python -m benchmarks.overhead [--quick]

Prints milliseconds a node at zero work, results persisted, and their ratio; the makespan of two plans as a multiple of
their critical path; what `execute_plan` adds to three nodes of 0.2 s; and the seconds of compiling 10,000 nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import plans
from benchmarks.embedded import THREE_NODES_BOUND
from benchmarks.server import standing_server

ROUNDS = 5
SETTLE_BOUND = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 nodes and two rounds only")
    quick = parser.parse_args().quick
    with standing_server() as (home, _):
        asyncio.run(measure([100] if quick else [100, 1000], 2 if quick else ROUNDS, home))


async def measure(sizes: list[int], rounds: int, home: Path) -> None:
    print(f"{'overhead, ms a node':<22} {'by hand':>8} {'ours':>8} {'ratio':>6}")
    for size in sizes:
        for make in (plans.wide, plans.chain):
            await overhead(make(size), size, rounds, home)
    print(f"\n{'makespan':<22} {'critical':>8} {'ours':>8} {'ratio':>6}")
    for plan in (plans.straggler(), plans.realistic()):
        await makespan(plan, rounds, home)
    await fixed_cost(rounds, home)
    compile_time(rounds)


def compile_time(rounds: int) -> None:
    """Print what it takes to compile 10,000 nodes: composites with tools and templates, each depending on the last."""
    from vibe_prefect import build_graph, compile_plan

    plan = plans.large(10_000)
    seconds: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        compile_plan(plan)
        seconds.append(time.perf_counter() - begun)
    print(f"compile_plan of {len(build_graph(plan).nodes):,} nodes: {statistics.median(seconds):.2f} s")


async def overhead(plan: Any, size: int, rounds: int, home: Path) -> None:
    from benchmarks.by_hand import by_hand, flat

    needs, seconds = flat(plan)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        theirs.append(await timed(lambda: by_hand(needs, seconds)))
        ours.append(await timed(lambda: execute(plan, home)))
    hand, own = (1000 * statistics.median(times) / size for times in (theirs, ours))
    print(f"{plan.id:<22} {hand:>8.2f} {own:>8.2f} {own / hand:>6.2f}", flush=True)


async def makespan(plan: Any, rounds: int, home: Path) -> None:
    critical = critical_path(plan)
    own = statistics.median([await timed(lambda: execute(plan, home)) for _ in range(rounds)])
    print(f"{plan.id:<22} {critical:>6.2f} s {own:>6.2f} s {own / critical:>6.2f}", flush=True)


async def fixed_cost(rounds: int, home: Path) -> None:
    three = plans.plan("three", [plans.node(f"n{index}", 0.2) for index in range(3)])
    own = statistics.median([await timed(lambda: execute(three, home)) for _ in range(2 * rounds)])
    print(f"\nfixed cost of execute_plan: {own - 0.2:.3f} s (three nodes of 0.2 s side by side, minus 0.2 s)")
    verdict = "under" if own < THREE_NODES_BOUND else "OVER"
    print(
        f"three nodes of 0.2 s in one execute_plan: {own:.3f} s, {verdict} the {THREE_NODES_BOUND:g} s of the contract"
    )


async def execute(plan: Any, home: Path) -> None:
    from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNodeType

    executor = WorkflowExecutor(storage=home / "records", output=home / "outputs")
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = await executor.execute_plan(plan)
    assert result.status is ExecutionStatus.COMPLETED, result.get_summary()


async def work(node: Any) -> dict[str, Any]:
    await asyncio.sleep(node.parameters["seconds"])
    return {"result": f"done {node.id}"}


async def timed(call: Callable[[], Awaitable[Any]]) -> float:
    """Return the seconds that a call takes on a server that has caught up with the calls before it."""
    await settled()
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


async def settled() -> None:
    """Wait until the server has recorded every task run that it was told of: its backlog would be measured too."""
    from prefect.client.orchestration import get_client

    end = time.monotonic() + SETTLE_BOUND
    counts: list[int] = []
    async with get_client() as client:
        while time.monotonic() < end:
            counts.append(int((await client.request("POST", "/task_runs/count", json={})).json()))
            if len(counts) > 3 and len(set(counts[-4:])) == 1:
                return
            await asyncio.sleep(0.5)
    raise TimeoutError(f"the server still records task runs after {SETTLE_BOUND:g} s")


def critical_path(plan: Any) -> float:
    """Return the longest sum of work, in seconds, along the edges of a plan."""
    from vibe_prefect import build_graph

    graph = build_graph(plan)
    ends: dict[str, float] = {}
    incoming: dict[str, list[str]] = {id: [] for id in graph.nodes}
    for edge in graph.edges:
        incoming[edge.target].append(edge.source)
    for id in (id for group in graph.groups for id in group):
        before = max((ends[source] for source in incoming[id]), default=0.0)
        ends[id] = before + float(graph.nodes[id].node.parameters["seconds"])
    return max(ends.values(), default=0.0)


if __name__ == "__main__":
    main()
