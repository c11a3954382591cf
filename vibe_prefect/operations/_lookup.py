"""Lookups of a forecast on the Prefect server: costs of earlier runs, and existing Secret blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vibe_prefect.core.budget import Spending
from vibe_prefect.errors import PlanError
from vibe_prefect.operations._plans import CheckedPlan, simulation
from vibe_prefect.plan.compiler import CompiledPlan, compile_plan
from vibe_prefect.plan.unfold import open_lists

if TYPE_CHECKING:
    from vibe_prefect.engine.past_run import PastRun


@dataclass(frozen=True)
class Lookup:
    """Costs of earlier runs, and the Secret blocks of the server."""

    paid: Mapping[str, Spending] = field(default_factory=dict[str, Spending])
    """Costs of nodes in earlier runs, by their ids."""

    runs: tuple[str, ...] = ()
    """The names of those runs, newest first."""

    blocks: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """Whether the server has each Secret block that was asked for, by name."""

    list_sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Numbers of items that lists of the plan had when they were last known, by the ids of their composites."""

    unanswered: str | None = None
    """Reason why nothing is known; `None` where the server answered, or needed not be asked."""


async def look_up(plan: CheckedPlan, paying: Collection[str], blocks: Collection[str]) -> Lookup:
    """Look up the costs and blocks that a forecast needs on the server.

    Args:
        plan: The plan.
        paying: Ids of the nodes that would pay for something.
        blocks: Names of the Secret blocks that it needs.
    """
    paid, runs = await _paid(plan, paying) if paying else ({}, ())
    return Lookup(paid, runs, await look_up_blocks(blocks) if blocks else {}, await last_list_sizes(plan))


async def last_list_sizes(plan: CheckedPlan, earlier: PastRun | None = None) -> dict[str, int]:
    """Return the numbers of items that unknown lists had when they were last known, by the ids of their composites.

    Args:
        plan: The plan.
        earlier: The run to ask; by default the newest ones of the plan.
    """
    lists = open_lists(plan.compiled)
    if not lists:
        return {}
    from vibe_prefect.engine.records.records import Records
    from vibe_prefect.engine.records.storage import open_store
    from vibe_prefect.engine.runs.earlier_runs import earlier_runs
    from vibe_prefect.engine.runs.recorded_lists import unfold_recorded

    store, sizes = await open_store(None), dict[str, int]()
    for run in [earlier] if earlier is not None else await earlier_runs(plan.compiled.plan.id):
        before = as_today(run, plan)
        if before is None:
            continue
        instances = (await unfold_recorded(before, Records(store, run.record_namespace))).instances
        sizes = {id: len(instances[id]) for id in lists & instances.keys()} | sizes
        if sizes.keys() >= lists:
            break
    return sizes


async def look_up_blocks(names: Collection[str]) -> dict[str, bool]:
    """Return whether the server has each Secret block, by name."""
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.run.run_preflight import blocks_there

    async with get_client() as client:
        return await blocks_there(client, names)


def as_today(earlier: PastRun, plan: CheckedPlan) -> CompiledPlan | None:
    """Compile an earlier run's plan with the tools of today; `None` where it could not run any more."""
    if earlier.plan is None:
        return None
    mode = simulation(simulate=earlier.parameters.simulate)
    try:
        return earlier.valued(compile_plan(earlier.plan, tools=plan.tools, simulate=mode))
    except PlanError:
        return None


async def _paid(plan: CheckedPlan, paying: Collection[str]) -> tuple[dict[str, Spending], tuple[str, ...]]:
    """Return what nodes cost when they last ran with the models of today, and the names of those runs."""
    from vibe_prefect.engine.records.records import Records
    from vibe_prefect.engine.records.storage import open_store
    from vibe_prefect.engine.runs.earlier_runs import earlier_runs

    store = await open_store(None)
    paid: dict[str, Spending] = {}
    runs: list[str] = []
    for earlier in await earlier_runs(plan.compiled.plan.id):
        before = as_today(earlier, plan)
        if before is None:
            continue
        costs = await Records(store, earlier.record_namespace).costs(before.nodes.values())
        new = {id: cost for id, cost in costs.items() if id in paying and id not in paid}
        paid |= new
        runs += [earlier.name] if new else []
        if len(paid) == len(paying):
            break
    return paid, tuple(runs)
