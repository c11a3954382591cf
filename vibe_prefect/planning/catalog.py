"""Facts that a model needs to write a plan: the tools that it may name, and the fields of plans and nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel

from vibe_prefect.core.models import BestOf, NodePolicy, OnError, WorkflowNode, WorkflowPlan
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.text.documented import field_docstrings
from vibe_prefect.tools.base import ToolSpec
from vibe_prefect.tools.registry import ToolRegistry

REASON = "why"
"""Field of a node in a draft that says why the node is there; a plan has no such field."""

OWN_FIELDS = ("source_vibe", "created_at", "estimated_total_duration")
"""Fields of a plan that no model writes."""

_NOISE = ("title", "default", "description")
"""Keywords that say nothing about the shape of an answer."""

_NAMED_PARTS = ("properties", "$defs")
"""Keywords whose value has schemas by names that are not keywords."""


def usable_tools(tools: ToolRegistry) -> list[ToolSpec]:
    """Return the specs of the registered tools that can run here, sorted by name: what they need is set up."""
    return [spec for spec in tools.list_tools() if not tools.traits(spec.name).lacks]


def describe_tools(specs: list[ToolSpec]) -> str:
    """Describe tools with their inputs as JSON Schemas, a block each."""
    return "\n\n".join(_described(spec) for spec in specs)


def describe_tools_briefly(specs: list[ToolSpec]) -> str:
    """Describe tools with the names of their inputs alone, a line each, for models that read little at once."""
    return "\n".join(f"- {spec.name}: {spec.description} Inputs: {_input_names(spec)}." for spec in specs)


def _described(spec: ToolSpec) -> str:
    lines = [f"- {spec.name} ({spec.category}): {spec.description}"]
    for name, schema, is_required in _inputs(spec):
        lines.append(f"    {name}{', required' if is_required else ''}: {_compact(schema)}")
    outputs = cast("dict[str, Any]", (spec.output_schema or {}).get("properties", {}))
    if outputs:
        lines.append(f"    its output has: {', '.join(outputs)}")
    return "\n".join(lines)


def _input_names(spec: ToolSpec) -> str:
    return ", ".join(f"{name} (required)" if is_required else name for name, _, is_required in _inputs(spec)) or "none"


def _inputs(spec: ToolSpec) -> Iterator[tuple[str, Any, bool]]:
    """Yield the inputs of a tool: name, JSON Schema, and whether it is required."""
    required = set(cast("list[str]", spec.input_schema.get("required", [])))
    for name, schema in cast("dict[str, Any]", spec.input_schema.get("properties", {})).items():
        yield name, schema, name in required


def _compact(schema: Any) -> str:
    return json.dumps(_without_null(schema), ensure_ascii=False, separators=(", ", ": "), default=str)


def _without_null(schema: Any) -> Any:
    """Return the schema of an input without its title, and without `null` where that only means to leave it out."""
    if not isinstance(schema, Mapping):
        return schema
    facts = {name: value for name, value in cast("Mapping[str, Any]", schema).items() if name != "title"}
    options = [option for option in facts.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        facts = {**options[0], **{name: value for name, value in facts.items() if name != "anyOf"}}
    return {name: value for name, value in facts.items() if not (name == "default" and value is None)}


def describe_fields() -> str:
    """Describe the fields of plans and nodes that a model writes, a line each."""
    sections: list[tuple[str, type[BaseModel]]] = [
        ("The plan", WorkflowPlan),
        ("Each node", WorkflowNode),
        ("policy of a node or of the plan", NodePolicy),
        ("best_of", BestOf),
        ("on_error", OnError),
    ]
    return "\n".join(line for title, model in sections for line in (f"{title}:", *_field_lines(model)))


def _field_lines(model: type[BaseModel]) -> Iterator[str]:
    if model is WorkflowNode:
        yield f"- {REASON}: In a sentence, why the plan has this node; for the person who reads it."
    texts = field_docstrings(model)
    for name, info in model.model_fields.items():
        if model is not WorkflowPlan or name not in OWN_FIELDS:
            yield f"- {info.alias or name}: {' '.join(texts.get(name, '').split())}"


def describe_models(config: ModelConfig) -> str:
    """Describe the language models that nodes may name."""
    allowed = [*config.models, *filter(None, [config.judge])]
    others = ", ".join(dict.fromkeys(allowed[1:]))
    named = f"A node may name one of these instead, where `*` stands for anything: {others}." if others else ""
    return f"Nodes that name no tool run on {config.usual}. {named or 'Name no other model.'}"


@lru_cache(maxsize=1)
def draft_schema() -> dict[str, Any]:
    """Return the JSON Schema of an answer: a plan without the fields that no model writes, with reasons."""
    schema = _shape(WorkflowPlan.model_json_schema())
    plan_fields = {name: part for name, part in schema["properties"].items() if name not in OWN_FIELDS}
    plan_fields["inputs"] = {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": True}}
    kinds = {name: part for name, part in schema["$defs"].items() if name != "Vibe"}
    node = kinds["WorkflowNode"]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "root_nodes"],
        "properties": plan_fields,
        "$defs": kinds | {"WorkflowNode": {**node, "properties": {**node["properties"], REASON: {"type": "string"}}}},
    }


def _shape(schema: Any) -> Any:
    """Return a JSON Schema with its keywords of shape alone, and without `null` where that only means to leave out."""
    if isinstance(schema, list):
        return [_shape(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    facts = cast("Mapping[str, Any]", _without_null(schema))
    return {
        name: {field: _shape(part) for field, part in value.items()} if name in _NAMED_PARTS else _shape(value)
        for name, value in facts.items()
        if name not in _NOISE
    }
