"""Imported records: nodes that an earlier run completed, as its checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vibe_prefect.core.feedback import MODEL_KEYS
from vibe_prefect.engine.records.storage import RECORD_SCHEMA, NodeRecord
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult


@dataclass(frozen=True)
class ImportedRecord:
    """An imported record of a node, which is reused unless the plan asks for something else under the node's id."""

    node_id: str
    """The node's id."""

    key: str
    """The content key under which it ran."""

    record: NodeRecord
    """The node's record."""


def imported_records_of(result: ExecutionResult, keys: Mapping[str, str]) -> tuple[ImportedRecord, ...]:
    """Make an imported record for each completed node.

    Args:
        result: The result of the earlier run.
        keys: The content keys of its nodes, by id; a node without one is left out.
    """
    return tuple(
        ImportedRecord(id, keys[id], _record(node, result))
        for id, node in result.node_results.items()
        if node.status is ExecutionStatus.COMPLETED and id in keys
    )


def _record(node: NodeResult, result: ExecutionResult) -> NodeRecord:
    feedback = result.feedback_data.get(node.node_id, {})
    usage: Mapping[str, Any] = feedback.get("resource_usage") or {}
    record = NodeRecord(
        schema=RECORD_SCHEMA,
        result=node.result,
        duration=node.duration,
        started_at=node.started_at or result.started_at,
        attempts=usage.get("attempts") or 1,
        cpu_time=usage.get("cpu_time", 0.0),
        memory_usage=memory if isinstance(memory := usage.get("memory_usage"), int) else 0,
        cpu_scope=usage.get("scope", "process"),
    )
    if node.provenance is not None:
        record["provenance"] = node.provenance.to_dict()
    spent = {key: usage.get(key) for key in MODEL_KEYS}
    if any(value is not None for value in spent.values()):
        record["usage"] = spent
    return record
