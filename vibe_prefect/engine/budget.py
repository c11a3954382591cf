"""Cost of recorded nodes, models and paid tools alike: one rule for resuming and for forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from vibe_prefect.budget import Spending
from vibe_prefect.compiler import CompiledPlan
from vibe_prefect.engine.storage import RecordStore, Sealed, record_path
from vibe_prefect.feedback import usage_in


async def spent_before(compiled: CompiledPlan, store: RecordStore, lineage: str) -> Spending:
    """Sum the cost of all recorded nodes. A record without a price adds its tokens only.

    Args:
        compiled: The plan; its keys decide.
        store: Where the records are.
        lineage: Under which they are kept.
    """
    costs = (await costs_before(compiled, store, lineage)).values()
    return sum((Spending(cost.tokens, cost.usd or 0.0) for cost in costs), Spending())


async def costs_before(compiled: CompiledPlan, store: RecordStore, lineage: str) -> dict[str, Spending]:
    """Return the cost of each recorded node that paid for something, by its id; see `spent_before`."""
    costs: dict[str, Spending] = {}
    for id, node in compiled.nodes.items():
        path = record_path(lineage, id, node.key)
        if await store.aexists(path):
            cost = _cost(cast("Sealed", (await store.aread(path)).result).value)
            costs |= {id: cost} if cost != Spending() else {}
    return costs


def _cost(record: dict[str, Any]) -> Spending:
    """Return what a record says of its cost; its own usage has the attempts that failed, too."""
    usage = record.get("usage") or usage_in(record.get("result"))
    if not isinstance(usage, Mapping):
        return Spending()
    found = cast("Mapping[str, Any]", usage)
    tokens = (found.get("input_tokens") or 0) + (found.get("output_tokens") or 0)
    return Spending(tokens, found.get("cost_usd"))
