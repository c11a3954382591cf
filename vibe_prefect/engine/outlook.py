"""What an earlier run left behind, looked up without touching it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from vibe_prefect.compiler import CompiledPlan
from vibe_prefect.engine.account import see_run
from vibe_prefect.engine.lineage import FLOW_NAME, find_run, output_name, root_of
from vibe_prefect.engine.plan_store import recorded_plan
from vibe_prefect.engine.records import Records, record_namespace
from vibe_prefect.engine.storage import RecordStore, open_store
from vibe_prefect.errors import KeptPlanError, UnknownRunError
from vibe_prefect.models import WorkflowPlan
from vibe_prefect.tools.workspace import Workspace

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

    namespace: str
    """Namespace of its records."""

    plan: WorkflowPlan | None
    """Its plan; `None` when its parameters hold none."""

    simulated: bool
    """Whether every node was simulated."""

    output_name: str | None = None
    """Name of its output folder; `None` where nobody looked."""


async def earlier_run(reference: str) -> EarlierRun:
    """Look up a run.

    Args:
        reference: Its name or id.

    Raises:
        UnknownRunError: The Prefect server does not know it, or one that it goes on from, or its plan is not with its
            records.
    """
    async with get_client() as client:
        run = await find_run(client, reference)
        root = await root_of(client, run)
    due = root.expected_start_time or root.created
    seen = _seen(run, str(root.id), await recorded_plan(run, await open_store(None)))
    return replace(seen, output_name=output_name(root.id, due) if due else None)


async def earlier_runs(plan_id: str, limit: int = MAX_EARLIER) -> list[EarlierRun]:
    """Return the newest runs of a plan, newest first, but for simulated ones.

    Args:
        plan_id: The plan's id; the plan itself may have been another one then.
        limit: How many at most.
    """
    named = FlowRunFilter(name=FlowRunFilterName(like_=f"{plan_id}-"))  # `run_plan` puts the plan's id before each name
    ours, newest = FlowFilter(name=FlowFilterName(any_=[FLOW_NAME])), FlowRunSort.START_TIME_DESC
    found: list[EarlierRun] = []
    store = await open_store(None)
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_filter=ours, flow_run_filter=named, sort=newest, limit=MAX_READ)
        for run in runs:
            if len(found) == limit:
                break
            seen = await _of_plan(client, run, plan_id, store)
            found += [seen] if seen is not None else []
    return found


async def _of_plan(client: PrefectClient, run: FlowRun, plan_id: str, store: RecordStore) -> EarlierRun | None:
    try:
        plan = await recorded_plan(run, store)
    except KeptPlanError:
        return None
    seen = _seen(run, record_namespace(run.id, plan_id, shared=True), plan)
    if seen.plan is None or seen.plan.id != plan_id or seen.simulated:
        return None
    if run.parameters.get("reuse") == "plan":
        return seen
    try:
        return replace(seen, namespace=str((await root_of(client, run)).id))
    except UnknownRunError:  # a run that it goes on from was deleted, and nothing tells where its records are
        return None


def _seen(run: FlowRun, namespace: str, plan: WorkflowPlan | None) -> EarlierRun:
    return EarlierRun(str(run.id), run.name, namespace, plan, bool(run.parameters.get("simulate")))


@dataclass(frozen=True)
class KeptNodes:
    """The nodes of a plan of which a run finds a record."""

    ids: frozenset[str]
    """Those whose record would be reused."""

    lost: Mapping[str, str]
    """Why a record would not be reused for its files, by the node's id."""


async def kept_nodes(
    compiled: CompiledPlan, namespace: str, output_root: Path, storage: str | Path | None = None
) -> KeptNodes:
    """Look for the records of a plan's nodes and for their files, and change nothing.

    Args:
        compiled: The plan; its keys decide.
        namespace: Namespace of the records.
        output_root: The run's own output folder.
        storage: Where they are kept; see `open_store`.
    """
    records = Records(await open_store(storage), namespace)
    records = records.for_workspace(Workspace(Path.cwd(), output_root), restores=False)
    nodes = [compiled.nodes[id] for group in compiled.groups for id in group]
    found = {found.node_id: found.problem async for found in records.of_nodes(nodes)}
    lost = {id: problem for id, problem in found.items() if problem is not None}
    return KeptNodes(frozenset(found.keys() - lost.keys()), lost)


async def lost_files(reference: str) -> Mapping[str, str]:
    """Return why records of a run cannot be reused for their files, by the ids of the nodes.

    Args:
        reference: The run's name or id.

    Raises:
        UnknownRunError: The Prefect server does not know it, or it has no plan.
    """
    async with get_client() as client:
        seen = await see_run(client, await find_run(client, reference), await open_store(None))
    return (await kept_nodes(seen.compiled, seen.namespace, seen.output_root)).lost
