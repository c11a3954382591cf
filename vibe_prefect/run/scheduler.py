"""The ready-queue: each node starts as soon as all that it waits for is done. No barriers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from graphlib import TopologicalSorter

from vibe_prefect.plan.graph import Vertex
from vibe_prefect.plan.unfold import Instance


async def run_in_order(waits: Mapping[Vertex, tuple[Vertex, ...]], run: Callable[[str], Awaitable[None]]) -> None:
    """Run every node once, as many side by side as the waits allow.

    Args:
        waits: For each node's start and end, the starts and ends that come before it.
        run: Runs one node by its id. It is called when all that the node waits for has finished, and does not raise
            for a failing node.
    """
    try:
        await _run_in_order(waits, run)
    except BaseExceptionGroup as group:  # a group of one says less than the one
        raise group.exceptions[0] if len(group.exceptions) == 1 else group from None


async def run_instances(
    instances: Sequence[Instance], at_once: int | None, run: Callable[[str], Awaitable[None]]
) -> None:
    """Run the nodes of each item in their order, the items side by side.

    Args:
        instances: The instances of one composite.
        at_once: Number of items at once; `None` for no limit.
        run: Runs one node by its id; see `run_in_order`.
    """
    slots = asyncio.Semaphore(at_once) if at_once else nullcontext()

    async def run_one(instance: Instance) -> None:
        async with slots:
            await run_in_order(instance.waits, run)

    async with asyncio.TaskGroup() as group:
        for instance in instances:
            group.create_task(run_one(instance))


async def _run_in_order(waits: Mapping[Vertex, tuple[Vertex, ...]], run: Callable[[str], Awaitable[None]]) -> None:
    sorter = TopologicalSorter(waits)
    sorter.prepare()
    async with asyncio.TaskGroup() as group:

        async def step(vertex: Vertex) -> None:
            await run(vertex[0])
            sorter.done(vertex)
            release()

        def release() -> None:
            while ready := sorter.get_ready():
                for vertex in ready:
                    if vertex[1]:
                        sorter.done(vertex)
                    else:
                        group.create_task(step(vertex), name=vertex[0])

        release()
