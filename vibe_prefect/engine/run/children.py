"""Child runs, from both sides: what a run needs to start them, and what one of them checks and notes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.core.policies import LOCAL
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.placements.deployment import DeploymentPlacement
from vibe_prefect.engine.records.child_files import read_keys, write_spending
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import storage_block, storage_folder
from vibe_prefect.engine.run.branch_runs import ChildSetup
from vibe_prefect.engine.run.run_setup import RunSetup
from vibe_prefect.errors import UsageError, shorten
from vibe_prefect.plan.branches import branches
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.settings.package import VibePrefectSettings, variable
from vibe_prefect.settings.placements import PlacementKind

logger = logging.getLogger(__name__)

MAX_NAMED = 5
"""Nodes that a message names before it only counts."""


def child_setup(  # noqa: PLR0913 - the parts of one run
    client: PrefectClient,
    run_id: UUID,
    options: RunOptions,
    compiled: CompiledPlan,
    records: Records,
    storage: str | Path | None,
    settings: VibePrefectSettings,
) -> ChildSetup | None:
    """Return the setup of the child runs of a run; `None` where its plan asks for no deployment.

    Args:
        client: The server's client.
        run_id: Id of the run.
        options: Its options.
        compiled: Its plan, with the inputs of the run.
        records: Its records, without files.
        storage: The storage of these; see `open_store`.
        settings: Its settings.
    """
    named = {name: one for name, one in settings.placements.items() if one.kind is PlacementKind.DEPLOYMENT}
    used = {branch.placement for branch in branches(compiled, named, options.run_on)}
    if options.simulate or not used:
        return None
    placements = {name: DeploymentPlacement(name, named[name].deployment or "", named[name]) for name in used}
    parameters = {
        "resume_from": str(run_id),
        "reuse": options.reuse,
        "concurrency": options.concurrency,
        "options": {},
        "exclude": None,
        "budget_usd": None,
        "max_tokens": None,
        "run_on": LOCAL,
        "inputs": dict(compiled.values.given),
        "without_model": options.without_model,
    }
    block = storage_block(storage, settings)
    folder = str(storage_folder(storage, settings).resolve())
    return ChildSetup(client, placements, parameters, block or folder, records, in_folder=block is None)


async def check_children(setup: ChildSetup, used: Collection[str]) -> None:
    """Refuse a run whose child runs could not start, or not read its records; warn where one would wait.

    Args:
        setup: Their setup.
        used: Names of the placements at which nodes will run.

    Raises:
        UsageError: A deployment is missing, or does not reach the records.
    """
    placements = [setup.placements[name] for name in sorted(used)]
    problems = list(_storage_problems(placements, setup.storage)) if setup.in_folder else []
    for placement in placements:
        problem = await placement.problem(setup.client)
        if problem is not None:
            problems.append(f"the placement {placement.name!r}: {problem}")
        elif warning := await placement.warning(setup.client):
            for log in (logger, get_run_logger()):
                log.warning("What runs at the placement %r will wait: %s", placement.name, warning)
    if problems:
        raise UsageError(f"nothing was run: {'; '.join(problems)}")


def _storage_problems(placements: Collection[DeploymentPlacement], folder: str) -> Iterator[str]:
    for placement in placements:
        if not placement.settings.shares_files:
            yield (
                f"the records are in the folder {shorten(folder, 200)}, which the placement {placement.name!r} may not "
                f"see: set {variable('storage')} to a saved storage block, such as 's3-bucket/records'; or, where "
                "that folder is there under the same path, `shares_files = true` for the placement"
            )


async def check_keys(records: Records, parent: UUID, compiled: CompiledPlan, selected: Collection[str]) -> None:
    """Refuse a child run that would make its nodes under other keys than those under which its parent looks for them.

    Args:
        records: Its records.
        parent: Id of its parent.
        compiled: The plan, as this process compiles it.
        selected: Ids of the nodes that it may execute.

    Raises:
        UsageError: Keys differ.
    """
    expected: Mapping[str, str] = await read_keys(records, str(parent))
    differing = [
        id
        for id in sorted(_needed(compiled, selected))
        if expected.get(id, compiled.nodes[id].key) != compiled.nodes[id].key
    ]
    if differing:
        named = ", ".join(differing[:MAX_NAMED]) + (
            f" and {len(differing) - MAX_NAMED} more" if differing[MAX_NAMED:] else ""
        )
        raise UsageError(
            f"nothing was run: the tools of this machine are not those of the machine that started the run, so that "
            f"results would not be found there: {named}; install the same version of the package and of the tools, and "
            "name the same models"
        )


def _needed(compiled: CompiledPlan, selected: Collection[str]) -> set[str]:
    """Return the ids of nodes as the plan has them, with those whose results they need."""
    graph = compiled.graph
    ids = {id for id in selected if id in graph.nodes}
    awaited = {part for id in ids for other in graph.awaited(id) for part in (other, *graph.parts(other))}
    return ids | awaited | {above for id in ids for above in graph.ancestors(id)}


@asynccontextmanager
async def child_run(
    compiled: CompiledPlan, setup: RunSetup, flow_run: FlowRun, parent: PastRun | None
) -> AsyncGenerator[None]:
    """Do around the block what a child run does: its keys are checked before, and its spending is noted.

    Args:
        compiled: The plan, as this process compiles it.
        setup: The run.
        flow_run: The flow run.
        parent: The run that has started it; `None` for a run that is no child run, where nothing is done.

    Raises:
        UsageError: Keys differ; see `check_keys`.
    """
    if parent is None:
        yield
        return
    await check_keys(setup.records, parent.id, compiled, setup.chosen.selected or compiled.nodes)
    if setup.budget is None:
        yield
        return
    notes = _SpendingNotes(setup.records, str(flow_run.id), setup.budget)
    setup.budget.before_call = notes.write
    yield
    try:
        await notes.write()
    except Exception as error:  # noqa: BLE001 - each kind of storage has its own; the note before counts with no less
        get_run_logger().warning("What the run has spent could not be noted: %s", error)


class _SpendingNotes:
    """Notes of what a child run has spent, for the run that has started it."""

    def __init__(self, records: Records, run_id: str, budget: Budget) -> None:
        self._records, self._run_id, self._budget = records, run_id, budget
        self._before = budget.spent
        self._lock = asyncio.Lock()

    async def write(self) -> None:
        """Note what was spent, with what the calls under way may cost.

        Raises:
            Exception: The storage refuses it; each kind of storage has its own error.
        """
        async with self._lock:
            now = self._budget.committed
            usd = (now.usd or 0.0) - (self._before.usd or 0.0)
            await write_spending(self._records, self._run_id, Spending(now.tokens - self._before.tokens, usd))
