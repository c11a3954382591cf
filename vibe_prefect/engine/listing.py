"""Lists that the Prefect server answers in pages, and the filter for runs of plans."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort

from vibe_prefect.engine.past_run import PastRun

FLOW_NAME = "run-plan"
"""Name of the flow that runs plans."""

OUR_FLOW = FlowFilter(name=FlowFilterName(any_=[FLOW_NAME]))
"""The flow that runs plans."""

PAGE = 200
"""Largest number of items in one answer of the server."""

RUNS_PAGE = 50
"""Largest number of flow runs in one answer: each carries its whole plan."""

Item = TypeVar("Item")


async def paged(
    read: Callable[[int, int], Awaitable[Sequence[Item]]], *, page: int = PAGE, limit: int | None = None
) -> AsyncGenerator[Item]:
    """Yield the items of a list that the server answers in pages.

    Args:
        read: Asks the server: takes the largest number of items and the offset of the first.
        page: Largest number of items to ask for at once.
        limit: Largest number of items; `None` for all.
    """
    offset = 0
    while limit is None or offset < limit:
        size = page if limit is None else min(page, limit - offset)
        items = await read(size, offset)
        for item in items:
            yield item
        if len(items) < size:
            return
        offset += len(items)


async def plan_runs(
    client: PrefectClient, which: FlowRunFilter | None = None, *, limit: int | None = None, children: bool = False
) -> AsyncGenerator[PastRun]:
    """Yield runs of plans, newest first, without their roots.

    Args:
        client: The server's client.
        which: Filter for them; all by default.
        limit: Largest number of runs; `None` for all.
        children: Whether runs that execute a branch of a plan for another run are among them.
    """
    left = math.inf if limit is None else limit
    pages = paged(
        lambda size, offset: client.read_flow_runs(
            flow_filter=OUR_FLOW,
            flow_run_filter=which,
            sort=FlowRunSort.START_TIME_DESC,
            limit=size,
            offset=offset,
        ),
        page=RUNS_PAGE if limit is None else min(RUNS_PAGE, limit + 1),
    )
    async for run in (PastRun.of(flow_run) async for flow_run in pages):
        if left <= 0:
            return
        if children or not run.is_child:
            yield run
            left -= 1
