"""What an earlier run left behind, looked up without touching it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import get_client
from pydantic import ValidationError

from vibe_prefect.compiler import CompiledPlan
from vibe_prefect.engine.lineage import find_run, root_of
from vibe_prefect.engine.storage import open_store, record_path
from vibe_prefect.models import WorkflowPlan


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
    try:
        plan = WorkflowPlan.model_validate(run.parameters.get("plan"))
    except ValidationError:
        plan = None
    return EarlierRun(str(run.id), run.name, str(root.id), plan, bool(run.parameters.get("simulate")))


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
