"""Inputs of a plan in the form of its deployment: a field for each, which Prefect's server checks too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.utilities.callables import ParameterSchema

from vibe_prefect.plan.inputs.given import required_inputs

INPUTS = "inputs"
"""Name of the flow's parameter with the inputs."""


def with_input_fields(
    form: ParameterSchema, declared: Mapping[str, Mapping[str, Any]], stated: Mapping[str, Any]
) -> ParameterSchema:
    """Return the schema of the flow's parameters with the inputs of one plan.

    Args:
        form: The schema of the flow; it is not changed.
        declared: The inputs that the plan declares, each with its JSON Schema.
        stated: The values that the deployment gives, by name; such an input need not be given to a run.
    """
    properties = dict(form.properties)
    general = properties.pop(INPUTS, {})
    if not declared:
        return form.model_copy(update={"properties": properties})
    required = [name for name in required_inputs(declared) if name not in stated]
    fields = {
        name: {"title": _title(name), **schema, "position": position, **_default(name, stated)}
        for position, (name, schema) in enumerate(declared.items())
    }
    properties[INPUTS] = {
        "title": "Inputs",
        "description": general.get("description", ""),
        "position": FIRST,
        "type": "object",
        "properties": fields,
        "additionalProperties": False,
        **({"required": required} if required else {"default": {}}),
    }
    demanded = [name for name in form.required if name != INPUTS] + ([INPUTS] if required else [])
    return form.model_copy(update={"properties": properties, "required": demanded})


FIRST = -1
"""Position in the form before all parameters of the flow, which are numbered from 0."""


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _default(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    return {"default": stated[name]} if name in stated else {}
