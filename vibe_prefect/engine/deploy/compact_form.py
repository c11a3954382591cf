"""The form of a deployed plan in the Prefect UI: a field for each of its inputs, and all else folded into one field.

The UI draws a union as tabs and shows the first until another is chosen; a tab of a mapping without properties is
empty. So a union of such a mapping with the options is a folded group. A default of an option in it would be sent as
soon as the group is opened, before what the deployment and the worker's settings say, so options have none.

Prefect's own parts and the folded field leave room for two fields on a screen of 900 pixels. Further inputs that need
not be given are in the folded group. The server checks each input in either place, which the UI does not draw twice: it
looks neither at `patternProperties` nor at what stands beside a union.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.utilities.callables import ParameterSchema

from vibe_prefect.engine.inputs.option_group import INPUTS, OPTIONS
from vibe_prefect.engine.inputs.plan_store import PLAN
from vibe_prefect.plan.inputs.given import required_inputs

SHOWN_LINES = 2
"""Fields of one line that fit the screen outside the folded group."""


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
    shown = shown_inputs(declared, required)
    fields = {
        name: {"title": _title(name), **schema, "position": position, **_default(name, stated)}
        for position, (name, schema) in enumerate(declared.items())
    }
    folded = {name: field for name, field in fields.items() if name not in shown}
    inputs = {INPUTS: _inputs({name: fields[name] for name in shown}, folded, required)} if declared else {}
    return form.model_copy(
        update={
            "properties": {**inputs, OPTIONS: _folded(options, folded)},
            "required": [INPUTS] if required else [],
            "definitions": {},
        }
    )


def shown_inputs(declared: Mapping[str, Mapping[str, Any]], required: Sequence[str]) -> list[str]:
    """Return the inputs with a field outside the folded group: those that must be given, and others that fit.

    Args:
        declared: The inputs that the plan declares, each with its JSON Schema, the most important first.
        required: Those that must be given.
    """
    lines = sum(_lines(declared[name]) for name in required)
    shown = set(required)
    for name in declared:
        if name in shown:
            continue
        lines += _lines(declared[name])
        if lines > SHOWN_LINES:
            break
        shown.add(name)
    return [name for name in declared if name in shown]


def _lines(schema: Mapping[str, Any]) -> int:
    """Return the height of an input's field, in fields of one line."""
    return 2 if schema.get("type") in ("array", "object") else 1


def _inputs(shown: Mapping[str, Any], folded: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """Return the group of the inputs. Those in the folded group may be given here too, as by a program."""
    elsewhere = {f"^{re.escape(name)}$": field for name, field in folded.items()}
    return {
        "title": "Inputs",
        "position": 0,
        "type": "object",
        "properties": dict(shown),
        **({"patternProperties": elsewhere} if folded else {}),
        "additionalProperties": False,
        **({"required": list(required)} if required else {"default": {}}),
    }


def _folded(options: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return one field for the options and further inputs, closed until its second tab is chosen."""
    fields = {name: _unset(field) for name, field in options.items()}
    fields[PLAN] = {**fields[PLAN], "title": "Another plan", "position": len(fields)}
    contents = "Resume, choice of nodes, budget, folders, another plan."
    more: dict[str, Any] = {}
    if inputs:
        contents = f"More inputs: {', '.join(field['title'] for field in inputs.values())}. {contents}"
        group = {"type": "object", "properties": dict(inputs), "additionalProperties": False}
        more = {"properties": {INPUTS: group}}
        fields = {INPUTS: {**group, "title": "More inputs", "position": -1}, **fields}
    return {
        "title": "Options",
        "description": contents,
        "position": 1,
        "anyOf": [
            {"title": "As deployed", "type": "object"},
            {"title": "Choose", "type": "object", "properties": fields},
        ],
        **more,
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
