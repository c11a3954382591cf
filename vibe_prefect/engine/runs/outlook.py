"""What an earlier run left behind, looked up without touching it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from vibe_prefect.engine.listing import plan_runs
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.account import load_run
from vibe_prefect.engine.runs.lineage import with_root
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.tools.workspace import Workspace

MAX_EARLIER = 5
"""How many earlier runs of a plan are looked at for what it costs."""

MAX_READ = 20
"""How many runs are read to find them: some are simulated, or of a plan whose id begins alike."""


async def earlier_run(reference: str) -> PastRun:
    """Look up a run with its plan and its root.

    Args:
        reference: Its name or id.

    Raises:
        UnknownRunError: The Prefect server does not know it, or one that it resumes, or its plan is not with its
            records.
    """
    async with get_client() as client:
        return await load_run(client, reference, await open_store(None))


async def earlier_runs(plan_id: str, limit: int = MAX_EARLIER) -> list[PastRun]:
    """Return the newest runs of a plan, newest first, but for simulated ones.

    Args:
        plan_id: The plan's id; the plan itself may have been another one then.
        limit: How many at most.
    """
    named = FlowRunFilter(name=FlowRunFilterName(like_=f"{plan_id}-"))  # `run_plan` puts the plan's id before each name
    runs: list[PastRun] = []
    store = await open_store(None)
    async with get_client() as client:
        async for run in plan_runs(client, named, limit=MAX_READ):
            if len(runs) == limit:
                break
            if run.plan_id != plan_id or run.parameters.simulate:
                continue
            with suppress(UnknownRunError):  # its plan or a run that it resumes was deleted
                known = await run.with_plan(store)
                known = known if known.shares else await with_root(client, known)
                runs += [known] if known.plan is not None else []
    return runs


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


async def lost_files(run: PastRun) -> Mapping[str, str]:
    """Return why records of a run cannot be reused for their files, by the ids of the nodes.

    Args:
        run: The run, with its plan and its root.

    Raises:
        UnknownRunError: It has no plan.
    """
    return (await kept_nodes(run.compiled, run.record_namespace, run.output_root)).lost
