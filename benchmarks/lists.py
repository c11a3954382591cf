"""What a list costs: a composite with `for_each` beside the same plan written out, alternating.

    python -m benchmarks.lists [ITEMS]

Prints the median milliseconds a node of both, by the clock and of this process's CPU, and their ratio, which is to stay
below 1.2 with 1,000 items.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.server import standing_server

ITEMS = 1_000
ROUNDS = 3
AT_ONCE = 8
KINDS = ("list", "written out")


def main() -> None:
    items = int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS
    with standing_server() as (home, _):
        asyncio.run(measure(items, home))


async def measure(items: int, home: Path) -> None:
    plans = dict(zip(KINDS, (listed(items), written_out(items)), strict=True))
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS + 1):
        for kind, plan in plans.items():
            begun, computing = time.perf_counter(), time.process_time()
            await execute(plan, home)
            taken[kind].append((time.perf_counter() - begun, time.process_time() - computing))
    medians = {
        kind: tuple(1_000 * statistics.median(column) / items for column in zip(*rounds[1:], strict=True))
        for kind, rounds in taken.items()
    }
    for kind, (wall, cpu) in medians.items():
        print(f"{items:,} items, {kind}: {wall:.2f} ms a node, {cpu:.2f} ms of CPU")
    wall, cpu = (one / other for one, other in zip(*medians.values(), strict=True))
    print(f"ratio {wall:.2f} by the clock, {cpu:.2f} of CPU; {'under' if cpu < 1.2 else 'OVER'} 1.2")


def node(id: str, text: str) -> dict[str, Any]:
    parameters = {"tool": "echo", "tool_inputs": {"text": text}}
    return {"id": id, "type": "generate", "description": "Echo", "parameters": parameters}


def listed(items: int) -> Any:
    each = f"{{{{ range({items}) | list }}}}"
    return plan("list", {"for_each": each, "max_items": items, "children": [node("echo", "{{ item }} times")]})


def written_out(items: int) -> Any:
    return plan("written-out", {"children": [node(f"echo-{index}", f"{index} times") for index in range(items)]})


def plan(id: str, fields: dict[str, Any]) -> Any:
    from vibe_prefect import WorkflowPlan

    root = {"id": "all", "type": "composite", "description": "All", **fields}
    return WorkflowPlan.model_validate({"id": id, "source_vibe": {"description": "x"}, "root_nodes": [root]})


async def execute(plan: Any, home: Path) -> None:
    from vibe_prefect import ExecutionStatus, ToolRegistry, WorkflowExecutor, tool

    @tool(version="1")
    async def echo(text: str) -> dict[str, str]:
        return {"text": text}

    executor = WorkflowExecutor(
        storage=home / "records", output=home / "outputs", tool_registry=ToolRegistry([echo]), concurrency=AT_ONCE
    )
    result = await executor.execute_plan(plan)
    assert result.status is ExecutionStatus.COMPLETED, result.get_summary()


if __name__ == "__main__":
    main()
