"""Values of a plan's inputs: those that a run is given, checked against what the plan declares, and the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.plan_tree import dotted
from vibe_prefect.errors import Finding, InputsError, Problem, did_you_mean, shorten
from vibe_prefect.plan.inputs.declared import type_words
from vibe_prefect.plan.keys import canonical_json
from vibe_prefect.plan.reading.size import weight
from vibe_prefect.plan.reading.values import value_problems
from vibe_prefect.schemas.schema import SchemaError, mismatches
from vibe_prefect.tools.secrecy.known import scrubbed

MAX_BYTES = 128_000
"""Bytes of the inputs of a run together: they stand among its parameters, beside the plan."""


def input_values(plan: WorkflowPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each input of a plan, in the plan's order.

    Args:
        plan: The plan.
        given: The values of a run, by name; an input that is left out has the plan's default.

    Raises:
        InputsError: An input is unknown, missing, or has a value that does not fit, with every problem.
    """
    problems = [*_missing(plan, given), *given_problems(plan, given)]
    if problems:
        raise InputsError(problems, plan.id)
    return known_values(plan, given)


def given_problems(plan: WorkflowPlan, given: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the inputs that are given; others may be missing."""
    problems = list(_unknown(plan, given))
    size = weight(given) if not any(value_problems(given)) else 0
    if size > MAX_BYTES:
        text = f"the inputs have {size:,} bytes; a run takes {MAX_BYTES:,}"
        finding = Finding.advised(text, "have a node read a large text from a file")
        return [*problems, Problem(finding.message, hint=finding.hint)]
    for name, value in given.items():
        if name in plan.inputs:
            problems += _misfits(name, plan.inputs[name], value)
    return problems


def known_values(plan: WorkflowPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the inputs that are known: without those that are missing, unknown or do not fit."""
    defaults = {name: schema["default"] for name, schema in plan.inputs.items() if "default" in schema}
    known = defaults | fitting_inputs(plan, given)
    return {name: known[name] for name in plan.inputs if name in known}


def fitting_inputs(plan: WorkflowPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the given inputs that a plan declares and that fit."""
    return {
        name: value
        for name, value in given.items()
        if name in plan.inputs and not _misfits(name, plan.inputs[name], value)
    }


def required_inputs(declared: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the declared inputs that have no default."""
    return tuple(name for name, schema in declared.items() if "default" not in schema)


def _unknown(plan: WorkflowPlan, given: Mapping[str, Any]) -> Iterator[Problem]:
    for name in given:
        if name in plan.inputs:
            continue
        known = f"it has {', '.join(plan.inputs)}" if plan.inputs else "it declares none"
        finding = Finding.advised("the plan has no input of this name", did_you_mean(name, plan.inputs) or known)
        yield Problem(finding.message, None, name, None, finding.hint)


def _missing(plan: WorkflowPlan, given: Mapping[str, Any]) -> Iterator[Problem]:
    for name in required_inputs(plan.inputs):
        if name not in given:
            text = f"missing; it is required ({type_words(plan.inputs[name])})"
            finding = Finding.advised(text, f"give it, as in --set {name}=...")
            yield Problem(finding.message, None, name, None, finding.hint)


def _misfits(name: str, schema: Mapping[str, Any], value: Any) -> list[Problem]:
    if problems := [Problem(problem.message, None, dotted((name, *problem.path))) for problem in value_problems(value)]:
        return problems
    try:
        canonical_json(value)
        found = mismatches(schema, value)
    except (SchemaError, TypeError) as error:
        return [Problem(scrubbed(f"cannot be checked: {error}"), None, name)]
    return [_misfit(name, schema, mismatch.path, mismatch.message, value) for mismatch in found]


def _misfit(name: str, schema: Mapping[str, Any], path: tuple[str | int, ...], message: str, value: Any) -> Problem:
    field = dotted((name, *path))
    choices = [choice for choice in schema.get("enum", ()) if isinstance(choice, str)]
    if path or not choices or not isinstance(value, str):
        return Problem(scrubbed(message), None, field)
    finding = Finding.advised(
        f"expected {type_words(schema)}, found {scrubbed(shorten(value))}", did_you_mean(value, choices)
    )
    return Problem(finding.message, None, field, None, finding.hint)
