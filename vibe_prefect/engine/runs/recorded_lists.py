"""Lists of a plan that its records tell: which nodes run for their items, before or after a run."""

from __future__ import annotations

from typing import Any

from vibe_prefect.engine.records.records import Records
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.unfold import UnfoldedPlan
from vibe_prefect.run.handlers import output_of
from vibe_prefect.run.items import unfold_known


async def unfold_recorded(compiled: CompiledPlan, records: Records | None) -> UnfoldedPlan:
    """Return a plan with the nodes of those lists that are known from records, inputs and the plan itself.

    Args:
        compiled: The plan as written, with the values of its run.
        records: Records of the run; `None` where there are none.

    Raises:
        RecordStorageError: The storage does not answer.
    """

    async def output(node: CompiledNode) -> tuple[Any] | None:
        record = await records.read(node.record_id, node.key) if records is not None else None
        return None if record is None else (output_of(record["result"]),)

    return await unfold_known(compiled, output)
