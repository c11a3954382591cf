"""The form of a deployed plan in the Prefect UI: a field for each of its inputs, and all else folded into one field.

The UI draws a union as tabs and shows the first until another is chosen; a tab of a mapping without properties is
empty. So a union of such a mapping with the options is a folded group. A default in it would be sent as soon as the
group is opened, before what the deployment and the worker's settings say, so its fields have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.utilities.callables import ParameterSchema

from vibe_prefect.engine.inputs.option_group import OPTIONS
from vibe_prefect.engine.inputs.plan_store import PLAN
from vibe_prefect.plan.inputs.given import required_inputs

INPUTS = "inputs"
"""Name of the flow's parameter with the inputs."""


def compact_form(
    form: ParameterSchema, declared: Mapping[str, Mapping[str, Any]], stated: Mapping[str, Any]
) -> ParameterSchema:
    """Return the schema of a deployed plan's parameters: its inputs, and the folded options.

    A parameter of the flow itself, such as `budget_usd`, may be given as ever: the schema lets other names through.

    Args:
        form: The schema of the flow; it is not changed.
        declared: The inputs that the plan declares, each with its JSON Schema.
        stated: The values that the deployment gives, by name; such an input need not be given to a run.
    """
    options = {name: field for name, field in form.properties.items() if name != INPUTS}
    required = [name for name in required_inputs(declared) if name not in stated]
    inputs = {INPUTS: _inputs(declared, stated, required)} if declared else {}
    return form.model_copy(
        update={
            "properties": {**inputs, OPTIONS: _folded(options)},
            "required": [INPUTS] if required else [],
            "definitions": {},
        }
    )


def _inputs(
    declared: Mapping[str, Mapping[str, Any]], stated: Mapping[str, Any], required: list[str]
) -> dict[str, Any]:
    fields = {
        name: {"title": _title(name), **schema, "position": position, **_default(name, stated)}
        for position, (name, schema) in enumerate(declared.items())
    }
    return {
        "title": "Inputs",
        "position": 0,
        "type": "object",
        "properties": fields,
        "additionalProperties": False,
        **({"required": required} if required else {"default": {}}),
    }


def _folded(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one field for the options, closed until its second tab is chosen."""
    fields = {name: _unset(field) for name, field in options.items()}
    fields[PLAN] = {**fields[PLAN], "title": "Another plan", "position": len(fields)}
    return {
        "title": "Options",
        "description": "Resume, choice of nodes, budget, folders, another plan.",
        "position": 1,
        "anyOf": [
            {"title": "As deployed", "type": "object"},
            {"title": "Choose", "type": "object", "properties": fields},
        ],
    }


def _unset(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field that may be left out: the first type of a union, which has no tabs then, and no default."""
    own = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    first: Mapping[str, Any] = field["anyOf"][0] if "anyOf" in field else {}
    return {**first, **own}


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _default(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    return {"default": stated[name]} if name in stated else {}
