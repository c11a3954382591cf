"""Resuming from a checkpoint: the completed nodes of it that a run of a plan reuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vibe_prefect.checkpoints.checkpoint import WorkflowCheckpoint, load_checkpoint
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.records.imported_records import ImportedRecord, imported_records_of
from vibe_prefect.errors import PlanError
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.unfold import ListedNodes
from vibe_prefect.results import ExecutionResult, ExecutionStatus

Compile = Callable[[WorkflowPlan], CompiledPlan]


def finished_in(
    reference: WorkflowCheckpoint | str | None, folder: str | Path, compiled: CompiledPlan, compiled_as: Compile
) -> tuple[tuple[ImportedRecord, ...], ExecutionResult | None]:
    """Return the completed nodes of a checkpoint, and the part of its result that a run of the plan reuses.

    Args:
        reference: The checkpoint, or its id; `None` for none.
        folder: Folder of checkpoints.
        compiled: The plan of the run.
        compiled_as: Compiles a plan as that one was.
    """
    if reference is None:
        return (), None
    checkpoint = load_checkpoint(folder, reference) if isinstance(reference, str) else reference
    result = checkpoint.execution_result
    imported = imported_records_of(result, _keys_of(checkpoint, compiled.values.given, compiled_as))
    keys = {id: node.key for id, node in compiled.nodes.items()}
    lists = ListedNodes(compiled)
    reused = {
        record.node_id
        for record in imported
        if keys.get(record.node_id) == record.key or lists.added(record.node_id) is not None
    }
    nodes = {id: replace(result.node_results[id], reused=True) for id in result.node_results if id in reused}
    feedback = {id: node_feedback for id, node_feedback in result.feedback_data.items() if id in reused}
    return imported, replace(result, node_results=nodes, feedback_data=feedback)


def _keys_of(checkpoint: WorkflowCheckpoint, given: Mapping[str, Any], compiled_as: Compile) -> dict[str, str]:
    """Return the content keys of a checkpoint's nodes; where it has none, those that its plan would have here."""
    keys = checkpoint.node_keys
    if keys.keys() >= set(checkpoint.execution_result.ids(ExecutionStatus.COMPLETED)):
        return keys
    try:
        compiled_nodes = compiled_as(checkpoint.plan).with_known_inputs(given).nodes
    except PlanError as error:
        name = f"{checkpoint.plan.id} of the checkpoint {checkpoint.checkpoint_id}"
        raise PlanError(error.problems, name) from error
    return {id: node.key for id, node in compiled_nodes.items()} | keys
