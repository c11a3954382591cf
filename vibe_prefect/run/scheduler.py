"""The ready-queue: each node starts as soon as all that it waits for is done. No barriers."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from graphlib import TopologicalSorter
from weakref import WeakKeyDictionary

from vibe_prefect.plan.graph import Vertex
from vibe_prefect.plan.unfold import Instance

SLICE_SECONDS = 0.1
"""Seconds after which nodes that never wait, such as reused ones, let the rest of the event loop have its turn."""


class _Slices:
    """Divides the time of an event loop in slices, between which nodes begin one in each round of the loop."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait until a node may begin: at once within a slice, else in a later round, in the order of asking."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            if loop.time() - self._began <= SLICE_SECONDS:
                return
            loop.call_soon(self._call_next, loop)
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _call_next(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._waiting.popleft()
        if not turn.done():  # as that of a node that was cancelled meanwhile is
            turn.set_result(None)
        if self._waiting:
            loop.call_soon(self._call_next, loop)
        else:
            self._began = loop.time()


_slices: WeakKeyDictionary[asyncio.AbstractEventLoop, _Slices] = WeakKeyDictionary()


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
    slices = _slices.setdefault(asyncio.get_running_loop(), _Slices())
    async with asyncio.TaskGroup() as group:

        async def step(vertex: Vertex) -> None:
            await slices.turn()
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
