"""What a dry run asks the Prefect server, where one answers: what earlier runs paid, and which secrets there are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vibe_prefect.budget import Spending
from vibe_prefect.cli.environment import API_VARIABLE, ask
from vibe_prefect.cli.exits import StartError
from vibe_prefect.cli.plans import ReadyPlan, mode
from vibe_prefect.cli.standing import standing_server
from vibe_prefect.compiler import CompiledPlan, compile_plan
from vibe_prefect.errors import PlanError

if TYPE_CHECKING:
    from vibe_prefect.engine.past_run import PastRun

SECONDS = 15.0
"""How long the server may take to answer all of it."""


@dataclass(frozen=True)
class Lookup:
    """What is known of the past, and of the server."""

    paid: Mapping[str, Spending] = field(default_factory=dict[str, Spending])
    """What nodes cost in earlier runs, by their ids."""

    runs: tuple[str, ...] = ()
    """The names of those runs, newest first."""

    blocks: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """Which Secret blocks the server has, of those that were asked for."""

    unanswered: str | None = None
    """Why nothing is known; `None` where the server answered, or needed not be asked."""


def look_up(plan: ReadyPlan, calling: Collection[str], blocks: Collection[str]) -> Lookup:
    """Ask the server that is set, or the one of this machine; none is started, and a dry run does without.

    Args:
        plan: The plan.
        calling: Ids of the nodes that would pay for something.
        blocks: Names of the Secret blocks that it needs.
    """
    if not calling and not blocks:
        return Lookup()
    try:
        server = standing_server()
    except StartError:
        return Lookup(unanswered=f"{API_VARIABLE} names no Prefect server, and none answers on this machine")
    try:
        return ask(server, asyncio.wait_for(_look_up(plan, calling, blocks), SECONDS))
    except StartError as error:
        return Lookup(unanswered=str(error))
    except TimeoutError:
        return Lookup(unanswered=f"the Prefect server at {server.api_url} did not answer within {SECONDS:g} s")


async def look_up_blocks(names: Collection[str]) -> dict[str, bool]:
    """Tell which Secret blocks the server has."""
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.readiness import blocks_there

    async with get_client() as client:
        return await blocks_there(client, names)


def as_today(earlier: PastRun, plan: ReadyPlan) -> CompiledPlan | None:
    """Return an earlier run's plan as it would run today; `None` where it could not any more."""
    if earlier.plan is None:
        return None
    try:
        return compile_plan(earlier.plan, tools=plan.tools, simulate=mode(simulate=earlier.parameters.simulate))
    except PlanError:
        return None


async def _look_up(plan: ReadyPlan, calling: Collection[str], blocks: Collection[str]) -> Lookup:
    paid, runs = await _paid(plan, calling) if calling else ({}, ())
    return Lookup(paid, runs, await look_up_blocks(blocks) if blocks else {})


async def _paid(plan: ReadyPlan, calling: Collection[str]) -> tuple[dict[str, Spending], tuple[str, ...]]:
    """Return what nodes cost when they last ran with the models of today, and the runs that tell."""
    from vibe_prefect.engine.outlook import earlier_runs
    from vibe_prefect.engine.records import Records
    from vibe_prefect.engine.storage import open_store

    store = await open_store(None)
    paid: dict[str, Spending] = {}
    runs: list[str] = []
    for earlier in await earlier_runs(plan.compiled.plan.id):
        before = as_today(earlier, plan)
        if before is None:
            continue
        costs = await Records(store, earlier.record_namespace).costs(before.nodes.values())
        new = {id: cost for id, cost in costs.items() if id in calling and id not in paid}
        paid |= new
        runs += [earlier.name] if new else []
        if len(paid) == len(calling):
            break
    return paid, tuple(runs)
