"""`approve`: a gate where a person judges what its dependencies made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from vibe_prefect.core.approval import Answer, OnTimeout, Question, ShownItem
from vibe_prefect.core.edited_output import EditError, with_text
from vibe_prefect.text.json_text import jsonable
from vibe_prefect.tools.base import (
    UNKNOWN_DEPENDENCIES,
    Dependency,
    InputProblem,
    ToolCategory,
    ToolContext,
    ToolResult,
)
from vibe_prefect.tools.functions import ToolInputError, tool
from vibe_prefect.tools.registry import APPROVE_TOOL

SIMULATED_BY = "the simulation"
"""Name under which everything is approved where nobody can be asked."""

QUESTION = "May this go on?"
"""The question of a node that asks none of its own."""

AskedQuestion = Annotated[str, Field(min_length=1, max_length=2_000, description="What the person is asked.")]
TimeoutHours = Annotated[
    float | None,
    Field(gt=0, le=8_760, description="Hours after which the default answer counts; without it, it waits on."),
]
DefaultAnswer = Annotated[OnTimeout, Field(description="The answer that counts when nobody has answered in time.")]


def _problems(inputs: Mapping[str, Any], dependencies: Mapping[str, Dependency]) -> Iterator[InputProblem]:
    if not dependencies and dependencies is not UNKNOWN_DEPENDENCIES:
        hint = "name the nodes whose outputs are to be approved"
        yield InputProblem((), f"there is nothing to show; {hint}", of_dependencies=True, hint=hint)
    if "on_timeout" in inputs and inputs.get("timeout_hours") is None:
        hint = "add `timeout_hours`, or leave `on_timeout` out"
        yield InputProblem(("on_timeout",), f"it never counts without `timeout_hours`; {hint}", hint=hint)


def _check(inputs: Mapping[str, Any], dependencies: Mapping[str, Dependency]) -> list[InputProblem]:
    """Find what a plan cannot ask: about nothing, or with a default answer that never counts."""
    return list(_problems(inputs, dependencies))


@tool(name=APPROVE_TOOL, category=ToolCategory.UTILITY, version="1", check_plan=_check)
async def approve(
    context: ToolContext,
    question: AskedQuestion = QUESTION,
    timeout_hours: TimeoutHours = None,
    on_timeout: DefaultAnswer = "reject",
) -> ToolResult:
    """Show what the node's dependencies made to a person, and wait until it is approved, edited or rejected.

    Raises:
        ToolInputError: The node has no dependencies, or an edited text does not fit.
        AnswerAwaitedError: Nobody has answered yet.
    """
    outputs = context.get("previous_outputs", {})
    if not outputs:
        raise ToolInputError("approve: the node has no dependencies, so there is nothing to show; name one at least")
    lists = context.get("lists", {})
    parts = dict(_parts(outputs, lists))
    items = {id: ShownItem.of(part, jsonable(id, part)) for id, part in parts.items()}
    node_id, key = context.get("node_id", "approve"), context.get("key", "")
    asked = Question(node_id, key, question, items, on_timeout=on_timeout)
    ask = context.get("ask")
    if ask is None:
        return _result(outputs, lists, asked.answered(approved=True, by=SIMULATED_BY), simulated=True)
    return _result(outputs, lists, await ask(asked, timeout_hours), simulated=False)


def _parts(outputs: Mapping[str, Any], lists: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Any]]:
    """Yield what is asked about one by one: each output, and of a list each item, by the item's id."""
    for id, output in outputs.items():
        if id in lists:
            yield from zip((f"{id}.{name}" for name in lists[id]), output, strict=True)
        else:
            yield id, output


def _result(
    outputs: Mapping[str, Any], lists: Mapping[str, Sequence[str]], answers: Mapping[str, Answer], *, simulated: bool
) -> ToolResult:
    """Return what was approved, or the failure of a gate where an item was rejected."""
    parts = {id: _approved(id, part, answers[id]) for id, part in _parts(outputs, lists)}
    approved = {id: [parts[f"{id}.{name}"] for name in lists[id]] if id in lists else parts[id] for id in outputs}
    rejected = [id for id in parts if not answers[id].approved]
    evidence = [f"{id}: {answers[id].line}" for id in parts]
    criteria = [
        {"name": id, "score": float(answers[id].approved), "reason": answers[id].line, "needed": 1.0} for id in parts
    ]
    quality = round(1 - len(rejected) / max(1, len(parts)), 3)
    judged = {"simulated": True} if simulated else {"quality": quality, "criteria": criteria}
    metadata = {**judged, "evidence": evidence, "answers": evidence, "retryable": False}
    output = next(iter(approved.values())) if len(approved) == 1 else approved
    error = "; ".join(f"{id!r} was {answers[id].line}" for id in rejected) or None
    return ToolResult(not rejected, output, metadata, error)


def _approved(id: str, output: Any, answer: Answer) -> Any:
    if answer.text is None:
        return output
    try:
        return with_text(output, answer.text)
    except EditError as error:
        raise ToolInputError(f"approve: {id!r}: {error}") from None
