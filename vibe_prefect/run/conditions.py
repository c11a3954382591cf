"""Conditions of nodes: whether one is met, decided from the outputs of the node's dependencies and the run's values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vibe_prefect.core.run_values import RunValues
from vibe_prefect.errors import shorten
from vibe_prefect.plan.checks.conditions import read_outputs, shown_condition
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.templates.filling import fill_in
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.tools.secrecy.redaction import redacted_errors


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Reason why a node is not executed though all that it waits for has ended."""

    reason: str
    """Reason in words, the error of the skipped node."""

    condition_of: str | None = None
    """Id of the node whose condition is not met, where nothing else keeps this one from running; else `None`."""


def condition_values(values: RunValues, outputs: Mapping[str, Any], items: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a condition may name, by name.

    Args:
        values: Values of the run.
        outputs: Outputs of the node's dependencies, by id as written.
        items: Items that the node runs for, by name.
    """
    return {**items, "outputs": outputs, "inputs": values.inputs, "run": values.facts}


async def known_conditions(compiled: CompiledPlan, outputs: Mapping[str, Any]) -> dict[str, bool]:
    """Evaluate the conditions of a plan before it runs, as far as that is possible.

    Args:
        compiled: The plan.
        outputs: Recorded outputs of nodes that conditions read, by id.

    Returns:
        Whether a condition is met, by the node's id; missing where that is not known before the run.
    """
    known: dict[str, bool] = {}
    for id, node in compiled.nodes.items():
        condition = node.node.when
        if condition is None:
            continue
        read = {name: node.id_of(name) for name in read_outputs(condition, node.written)}
        if outputs.keys() >= set(read.values()):
            values = condition_values(
                compiled.values, {name: outputs[source] for name, source in read.items()}, node.scope
            )
            with suppress(InvalidTemplateError):
                known[id] = await is_met(condition, values)
    return known


async def is_met(condition: str, values: Mapping[str, Any]) -> bool:
    """Evaluate a condition.

    Args:
        condition: One template expression.
        values: Values that it may name, by name: `outputs`, `inputs` and `run`.

    Raises:
        InvalidTemplateError: It cannot be evaluated, or yields something else than true or false.
    """
    with redacted_errors():
        try:
            value = await fill_in(condition, values)
        except InvalidTemplateError as error:
            raise InvalidTemplateError(f"when: {error}") from error
        if isinstance(value, bool):
            return value
        raise InvalidTemplateError(
            f"when: the condition yields {shorten(value)}, and true or false is needed: compare it, as in "
            "{{ ... == 'yes' }} or {{ ... | length > 0 }}"
        )


def unmet(id: str, condition: str, *, own: bool) -> Obstacle:
    """Return the obstacle of a node that a condition skips.

    Args:
        id: Id of the node that has the condition.
        condition: The condition as written.
        own: Whether the skipped node is that one, and not one that needs it.
    """
    text = shown_condition(condition)
    return Obstacle(f"Condition not met: {text}" if own else f"Condition of {id} not met: {text}", id)
