"""Find the run to resume, and refuse it while a process may still execute it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from vibe_prefect.engine.listing import plan_runs
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.placements.child_run import child_tag
from vibe_prefect.engine.publish.events import announce_end
from vibe_prefect.errors import RunInUseError, UnknownRunError, did_you_mean
from vibe_prefect.settings.package import load_settings

CLAIM_PREFIX = "vibe-prefect-lineage:"
"""Prefix of the tag of a run that keeps its records in a storage block."""

CLOCK_SKEW = timedelta(seconds=10)
"""Longest time until the start of a run that counts as about to begin."""

MAX_NAMESAKES = 20
"""Largest number of runs of one name in a message."""

MAX_COMPARED = 100
"""Largest number of runs whose names are compared with one that is not known."""

MAX_CHAIN = 1000
"""Largest number of runs in a resume chain."""


async def find_run(client: PrefectClient, reference: str) -> PastRun:
    """Return the flow run of a plan with that id or name.

    Raises:
        UnknownRunError: There is no such run, or there are several of that name.
    """
    try:
        return PastRun.of(await client.read_flow_run(UUID(reference)))
    except ObjectNotFound:
        raise UnknownRunError(f"this Prefect server has no flow run with the id {reference}") from None
    except ValueError:  # not an id
        named = FlowRunFilter(name=FlowRunFilterName(any_=[reference]))
        runs = [run async for run in plan_runs(client, named, limit=MAX_NAMESAKES, children=True)]
    if len(runs) == 1:
        return runs[0]
    if not runs:
        newest = [run.name async for run in plan_runs(client, FlowRunFilter(), limit=MAX_COMPARED)]
        raise UnknownRunError(
            f"this Prefect server has no run of a plan named {reference!r}{did_you_mean(reference, newest)}; "
            "'vibe-prefect runs' lists its runs"
        )
    ids = ", ".join(str(run.id) for run in runs)
    raise UnknownRunError(f"{len(runs)} runs are named {reference!r}; use an id: {ids}")


async def newest_run(client: PrefectClient, *, waiting: bool = False) -> PastRun:
    """Return the newest run of a plan that has begun to work.

    A run that was refused, or that ended before its first node, has not.

    Args:
        client: The server's client.
        waiting: Whether a run counts, too, that is about to begin.

    Raises:
        UnknownRunError: No plan has run on this server.
    """
    async for run in plan_runs(client, await due_by_now(client)):
        if (waiting and run.waits) or await _has_begun(client, run):
            return run
    raise UnknownRunError("this Prefect server has no run of a plan")


async def _has_begun(client: PrefectClient, run: PastRun) -> bool:
    """Return whether a run has begun to work; where its state does not say, its task runs do."""
    if run.completed or run.failed_nodes or not (run.over or run.waits):
        return True
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    return bool(await client.read_task_runs(flow_run_filter=of_run, limit=1))


async def check_resumable(client: PrefectClient, reference: str) -> PastRun:
    """Return the run to resume, and refuse one that is not on the server, before a run is made for it.

    Args:
        client: The server's client.
        reference: The run's name or id.

    Raises:
        UnknownRunError: The server does not know the run, or one that it resumes.
    """
    return await with_root(client, await find_run(client, reference))


async def due_by_now(client: PrefectClient) -> FlowRunFilter:
    """Return a filter for runs that have begun or are about to, without those that a schedule makes for days to come.

    All times of runs are the server's, which stamps each state that it is sent; so its clock is used here too.
    """
    before = await _server_time(client) + CLOCK_SKEW
    return FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(before_=before))  # pyright: ignore[reportArgumentType] - Prefect's own date type is no class


async def _server_time(client: PrefectClient) -> datetime:
    """Return the time by the server's clock, to a second; by this machine's where the server does not say."""
    sent = (await client.hello()).headers.get("date")
    try:
        return parsedate_to_datetime(sent or "")
    except ValueError:
        return datetime.now(UTC)


async def earlier_try() -> str | None:
    """Return the id of the run of a plan that the current flow run made in its last try, to resume it in a retry.

    For flows that call `run_plan`: Prefect gives a retried flow fresh runs of its subflows.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.run_count < 2:
        return None
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[context.flow_run.id]))
    client = cast("PrefectClient", context.client)
    runs = [run async for run in plan_runs(client, children, limit=1)]
    return str(runs[0].id) if runs else None


async def with_root(client: PrefectClient, run: PastRun) -> PastRun:
    """Return a run with the first run of its resume chain; as it is where that is known.

    Raises:
        UnknownRunError: A run of the chain is not on the server.
    """
    if run.root is not None:
        return run
    root = run
    for _ in range(MAX_CHAIN):
        if not root.parameters.resume_from:
            return replace(run, root=root, root_id=root.id)
        root = await find_run(client, root.parameters.resume_from)
    raise UnknownRunError(f"more than {MAX_CHAIN:,} runs resume one another; do they form a circle?")


async def claim(client: PrefectClient, flow_run: FlowRun, namespace: str, parent: UUID | None = None) -> None:
    """Refuse a run whose records another run may write, where they are in a storage block, which nothing locks.

    A run names the namespace of its records in a tag, and then looks for others that name the same: of two that begin
    at once, one or both see the other.

    Args:
        client: The server's client.
        flow_run: The run.
        namespace: Namespace of its records.
        parent: Id of the run that it is a child run of; that one, and its other child runs, write other records.

    Raises:
        RunInUseError: Another run that is not over says so too.
    """
    tag = f"{CLAIM_PREFIX}{namespace}"
    await client.update_flow_run(flow_run.id, tags=sorted({*flow_run.tags, tag}))
    await refuse_claimed(client, namespace, flow_run.id, parent)


async def refuse_claimed(
    client: PrefectClient, namespace: str, by: UUID | None = None, parent: UUID | None = None
) -> None:
    """Refuse to touch records in a storage block that a run may write.

    Args:
        client: The server's client.
        namespace: Namespace of the records.
        by: Id of a run that may.
        parent: Id of a run that may, too, with its child runs; `None` for no such run.

    Raises:
        RunInUseError: A run that is not over has claimed them.
    """
    tag = f"{CLAIM_PREFIX}{namespace}"
    claims = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]), state=FlowRunFilterState(type=_ACTIVE))
    runs = map(PastRun.of, await client.read_flow_runs(flow_run_filter=claims))
    may = {by, parent}
    claimants = [run for run in runs if run.id not in may and (parent is None or child_tag(parent) not in run.tags)]
    if claimants:
        raise RunInUseError(_not_over(claimants[0]))


async def close_dead(client: PrefectClient, earlier: PastRun, by: FlowRun, *, sure: bool) -> None:
    """Mark a run that is resumed as Crashed, when its process ended without reporting it, a suspended one as Cancelled.

    Args:
        client: The server's client.
        earlier: The run to resume; a run that has ended stays as it is.
        by: The run that resumes it.
        sure: Whether it is certain that no process executes the earlier run.

    Raises:
        RunInUseError: It is not over, and a process may still execute it.
    """
    if earlier.id == by.id or earlier.state_type is None or earlier.over:
        return
    if not sure and not earlier.suspended:
        raise RunInUseError(_not_over(earlier))
    state = Crashed(message=f"The process of this run ended; the run {by.name!r} resumes it.")
    if earlier.suspended:
        state = Cancelled(message=f"The run {by.name!r} resumes this one.")
    await client.set_flow_run_state(earlier.id, state, force=True)
    if load_settings().events:
        announce_end(earlier, state)


def _not_over(run: PastRun) -> str:
    return (
        f"the run {run.name!r} is {run.state}, and its records lie where no lock can be held, so nothing "
        "tells whether a process still executes it; wait for it to end, or cancel it; if its process is dead, change "
        "its state to Crashed in the Prefect UI"
    )


_ACTIVE = FlowRunFilterStateType(any_=[kind for kind in StateType if kind not in TERMINAL_STATES])
