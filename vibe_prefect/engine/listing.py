"""Lists that the Prefect server answers in pages, and which flow runs are runs of plans."""

from __future__ import annotations

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
"""How many items one answer of the server holds at most."""

RUNS_PAGE = 50
"""Likewise for flow runs: each carries its whole plan."""

Item = TypeVar("Item")


async def paged(
    read: Callable[[int, int], Awaitable[Sequence[Item]]], *, page: int = PAGE, limit: int | None = None
) -> AsyncGenerator[Item]:
    """Yield the items of a list that the server answers in pages.

    Args:
        read: Asks the server, for how many items at most and from which one on.
        page: How many items it is asked for at once.
        limit: How many items at most; `None` for all.
    """
    offset = 0
    while limit is None or offset < limit:
        wanted = page if limit is None else min(page, limit - offset)
        items = await read(wanted, offset)
        for item in items:
            yield item
        if len(items) < wanted:
            return
        offset += len(items)


async def plan_runs(
    client: PrefectClient, which: FlowRunFilter | None = None, *, limit: int | None = None
) -> AsyncGenerator[PastRun]:
    """Yield runs of plans, newest first; nobody has looked for their roots.

    Args:
        client: The server's client.
        which: Which of them; all by default.
        limit: How many at most; `None` for all.
    """
    pages = paged(
        lambda wanted, offset: client.read_flow_runs(
            flow_filter=OUR_FLOW,
            flow_run_filter=which,
            sort=FlowRunSort.START_TIME_DESC,
            limit=wanted,
            offset=offset,
        ),
        page=RUNS_PAGE,
        limit=limit,
    )
    async for flow_run in pages:
        yield PastRun.of(flow_run)
