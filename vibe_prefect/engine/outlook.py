"""What an earlier run left behind, looked up without touching it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import ValidationError

from vibe_prefect.compiler import CompiledPlan
from vibe_prefect.engine.lineage import FLOW_NAME, find_run, lineage_of, root_of
from vibe_prefect.engine.storage import open_store, record_path
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.models import WorkflowPlan

MAX_EARLIER = 5
"""How many earlier runs of a plan are looked at for what it costs."""

MAX_READ = 20
"""How many runs are read to find them: some are simulated, or of a plan whose id begins alike."""


@dataclass(frozen=True)
class EarlierRun:
    """A run to go on from, or to compare with."""

    id: str
    """Id of the flow run."""

    name: str
    """Name of the flow run."""

    lineage: str
    """Under which its records are kept."""

    plan: WorkflowPlan | None
    """Its plan; `None` when its parameters hold none."""

    simulated: bool
    """Whether every node was simulated."""


async def earlier_run(reference: str) -> EarlierRun:
    """Look up a run.

    Args:
        reference: Its name or id.

    Raises:
        UnknownRunError: The Prefect server does not know it, or one that it goes on from.
    """
    async with get_client() as client:
        run = await find_run(client, reference)
        root = await root_of(client, run)
    return _seen(run, str(root.id))


async def earlier_runs(plan_id: str, limit: int = MAX_EARLIER) -> list[EarlierRun]:
    """Return the newest runs of a plan, newest first, but for simulated ones.

    Args:
        plan_id: The plan's id; the plan itself may have been another one then.
        limit: How many at most.
    """
    named = FlowRunFilter(name=FlowRunFilterName(like_=f"{plan_id}-"))  # `run_plan` puts the plan's id before each name
    ours, newest = FlowFilter(name=FlowFilterName(any_=[FLOW_NAME])), FlowRunSort.START_TIME_DESC
    found: list[EarlierRun] = []
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_filter=ours, flow_run_filter=named, sort=newest, limit=MAX_READ)
        for run in runs:
            if len(found) == limit:
                break
            seen = await _of_plan(client, run, plan_id)
            found += [seen] if seen is not None else []
    return found


async def _of_plan(client: PrefectClient, run: FlowRun, plan_id: str) -> EarlierRun | None:
    seen = _seen(run, lineage_of(run.id, plan_id, shared=True))
    if seen.plan is None or seen.plan.id != plan_id or seen.simulated:
        return None
    if run.parameters.get("reuse") == "plan":
        return seen
    try:
        return replace(seen, lineage=str((await root_of(client, run)).id))
    except UnknownRunError:  # a run that it goes on from was deleted, and nothing tells where its records are
        return None


def _seen(run: FlowRun, lineage: str) -> EarlierRun:
    try:
        plan = WorkflowPlan.model_validate(run.parameters.get("plan"))
    except ValidationError:
        plan = None
    return EarlierRun(str(run.id), run.name, lineage, plan, bool(run.parameters.get("simulate")))


async def kept_nodes(compiled: CompiledPlan, lineage: str, storage: str | Path | None = None) -> frozenset[str]:
    """Return the ids of the nodes whose record exists.

    Args:
        compiled: The plan; its keys decide.
        lineage: Under which the records are kept.
        storage: Where they are kept; see `open_store`.
    """
    store = await open_store(storage)
    paths = {id: record_path(lineage, id, node.key) for id, node in compiled.nodes.items()}
    return frozenset([id for id, path in paths.items() if await store.aexists(path)])
