"""What the nodes that a run keeps have cost: their records know."""

from __future__ import annotations

from typing import Any, cast

from vibe_prefect.budget import Spending
from vibe_prefect.compiler import CompiledPlan
from vibe_prefect.engine.storage import RecordStore, Sealed, record_path


async def spent_before(compiled: CompiledPlan, store: RecordStore, lineage: str) -> Spending:
    """Return what the nodes have cost of which there is a record; one of unknown price counts with its tokens alone.

    Args:
        compiled: The plan; its keys decide.
        store: Where the records are.
        lineage: Under which they are kept.
    """
    costs = (await costs_before(compiled, store, lineage)).values()
    return sum((Spending(cost.tokens, cost.usd or 0.0) for cost in costs), Spending())


async def costs_before(compiled: CompiledPlan, store: RecordStore, lineage: str) -> dict[str, Spending]:
    """Return what each node has cost of whose call to a model there is a record, by its id; see `spent_before`."""
    costs: dict[str, Spending] = {}
    for id, node in compiled.nodes.items():
        path = record_path(lineage, id, node.key)
        if await store.aexists(path):
            cost = _cost(cast("Sealed", (await store.aread(path)).result).value)
            costs |= {id: cost} if cost.tokens else {}
    return costs


def _cost(record: dict[str, Any]) -> Spending:
    """Return what a record says of its cost."""
    result: Any = record.get("result")
    metadata: Any = cast("dict[str, Any]", result).get("metadata") if isinstance(result, dict) else None
    usage: Any = cast("dict[str, Any]", metadata).get("usage") if isinstance(metadata, dict) else None
    usage = record.get("usage") or usage  # the record's own has the attempts that failed, too
    if not isinstance(usage, dict):
        return Spending()
    found = cast("dict[str, Any]", usage)
    tokens = (found.get("input_tokens") or 0) + (found.get("output_tokens") or 0)
    return Spending(tokens, found.get("cost_usd"))
