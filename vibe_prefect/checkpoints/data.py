"""Checkpoints as JSON data, in the contract's form.

Data to read may have been written by the reference: keys that are not known here are passed over. Written data are
ASCII, so that they read the same under every locale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from vibe_prefect.core.models import Vibe, WorkflowNode, WorkflowPlan, field_names
from vibe_prefect.core.plan_tree import data_nodes, tree_nodes
from vibe_prefect.errors import CheckpointSchemaError, ResultTypeError, shorten
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult

CHECKPOINT_SCHEMA: Literal["1.0"] = "1.0"


class CheckpointFields(BaseModel):
    """The values that make a checkpoint."""

    checkpoint_id: str
    """Its id."""

    created_at: str
    """Time of its creation, ISO 8601."""

    plan: WorkflowPlan
    """The plan that ran."""

    execution_result: ExecutionResult
    """Result so far."""

    node_keys: dict[str, str] = Field(default_factory=dict[str, str])
    """Content key of each completed node, by its id, where it is known."""


_BEYOND_THE_REFERENCE = [
    name
    for name in field_names(WorkflowNode)
    if name
    not in ("id", "type", "description", "parameters", "dependencies", "children", "estimated_duration", "policy")
]
"""Fields of a node that the reference does not have; each says nothing where it is left out."""


def plan_data(plan: WorkflowPlan) -> dict[str, Any]:
    """Return a plan as JSON data. What the reference does not know is left out where it says nothing.

    Raises:
        ResultTypeError: Its parameters or metadata hold something that JSON cannot.
    """
    try:
        data = plan.model_dump(mode="json")
    except (PydanticSerializationError, ValueError) as error:
        raise ResultTypeError(f"the plan {plan.id!r} holds something that cannot be JSON: {error}") from error
    if not data["inputs"]:
        del data["inputs"]
    for item in (data, *(node for _, node in data_nodes(data))):
        policy = {name: value for name, value in item.pop("policy").items() if value is not None}
        item.update({"policy": policy} if policy else {})
    for _, node in data_nodes(data):
        for name in _BEYOND_THE_REFERENCE:
            if node[name] in (None, []):
                del node[name]
    return data


def node_data(result: NodeResult) -> dict[str, Any]:
    """Return a node's result as JSON data.

    Raises:
        ResultTypeError: The node returned something that JSON cannot hold.
    """
    try:
        returned = to_jsonable_python(result.result)
    except (PydanticSerializationError, ValueError) as error:
        kind = type(result.result).__name__
        raise ResultTypeError(f"the result of node {result.node_id!r}, a {kind}, cannot be JSON: {error}") from error
    return {
        "node_id": result.node_id,
        "status": ExecutionStatus(result.status).value,
        "result": returned,
        "error": result.error,
        "duration": result.duration,
        "started_at": result.started_at,
        **({"reused": True} if result.reused else {}),
        **({"provenance": result.provenance.to_dict()} if result.provenance else {}),
    }


def run_data(result: ExecutionResult) -> dict[str, Any]:
    """Return the data of a run as a whole, without its nodes; their size does not depend on the plan's."""
    return {
        "plan_id": result.plan_id,
        "status": ExecutionStatus(result.status).value,
        "started_at": result.started_at,
        "completed_at": result.completed_at,
        "total_duration": result.total_duration,
        "parallel_efficiency": result.parallel_efficiency,
    }


def result_data(result: ExecutionResult) -> dict[str, Any]:
    """Return a run's result as JSON data.

    Raises:
        ResultTypeError: A node's result, or the feedback about a node, is something that JSON cannot hold.
    """
    try:
        learned = to_jsonable_python(
            {"feedback_data": result.feedback_data, "replan_suggestions": result.replan_suggestions}
        )
    except (PydanticSerializationError, ValueError) as error:
        raise ResultTypeError(f"the feedback of plan {result.plan_id!r} cannot be JSON: {error}") from error
    return {
        **run_data(result),
        "node_results": {id: node_data(node) for id, node in result.node_results.items()},
        "execution_groups": result.execution_groups,
        **learned,
    }


def read_fields(data: Mapping[str, Any]) -> CheckpointFields:
    """Return the values in a checkpoint's data.

    Raises:
        CheckpointSchemaError: It is of another schema version; a `ValueError`.
        ValueError: It is not a checkpoint.
    """
    version = data.get("schema_version")
    if version != CHECKPOINT_SCHEMA:
        raise CheckpointSchemaError(
            f"Unsupported checkpoint schema version: {version}; this version of vibe-prefect reads {CHECKPOINT_SCHEMA}"
        )
    try:
        fields = CheckpointFields.model_validate({**data, "plan": _known_plan(data.get("plan"))})
    except RecursionError:
        raise ValueError("its plan is nested too deeply") from None
    result = fields.execution_result
    result.node_results = _in_plan_order(fields.plan, result.node_results)
    return fields


def to_text(data: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """Return JSON data as text."""
    return json.dumps(data, indent=indent).encode("ascii")


def from_text(text: bytes) -> dict[str, Any]:
    """Return the JSON object in a text.

    Raises:
        ValueError: It holds something else.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {shorten(value)}")
    return cast("dict[str, Any]", value)


def reason_of(error: Exception) -> str:
    """Describe in one line why data is not a checkpoint."""
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _known_plan(data: Any) -> Any:
    plan: Any = _known(WorkflowPlan, data)
    if isinstance(plan, dict):
        for name, keep_known in (("source_vibe", partial(_known, Vibe)), ("root_nodes", _known_nodes)):
            if name in plan:
                plan[name] = keep_known(plan[name])
    return cast("Any", plan)


def _known_nodes(data: Any) -> Any:
    if not isinstance(data, list):
        return data
    nodes = [_known(WorkflowNode, node) for node in cast("list[Any]", data)]
    for node in nodes:
        if isinstance(node, dict) and "children" in node:
            node["children"] = _known_nodes(node["children"])
    return nodes


def _known(model: type[BaseModel], data: Any) -> Any:
    """Return data without the keys that a model does not know; data other than an object is returned unchanged."""
    if not isinstance(data, dict):
        return data
    names = {*field_names(model), *model.model_fields}
    return {name: value for name, value in cast("dict[str, Any]", data).items() if name in names}


def _in_plan_order(plan: WorkflowPlan, results: dict[str, NodeResult]) -> dict[str, NodeResult]:
    ids = (item.node.id for item in tree_nodes(plan.root_nodes))
    return {id: results[id] for id in ids if id in results} | results
