"""Replanning by a model: it proposes edits in a closed form, and what does not fit goes back to it.

The form has no field for a tool, a host, a file or a model, and none that could weaken a gate or drop a dependency. So
an answer cannot ask for them, whatever an output has talked the model into.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vibe_prefect.core.budget import Budget
from vibe_prefect.core.models import WorkflowNode, WorkflowPlan
from vibe_prefect.core.outputs import cut
from vibe_prefect.errors import ReplanError, shorten
from vibe_prefect.llm.checked_answers import (
    AnswerOptions,
    Inquiry,
    RefusedAnswer,
    UnfitAnswerError,
    checked_answer,
    room_left,
)
from vibe_prefect.llm.json_answer import read_json_answer
from vibe_prefect.llm.prompts import MATERIAL_RULE, marked, material_of
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.plan_yaml import plan_yaml
from vibe_prefect.replanning.edits import PROMPT, AddedNode, NodeEdit, Replan, edited_plan
from vibe_prefect.replanning.rules import is_gate, missed_criteria, takes_prompt
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.tools.registry import LLM_TOOL

MAX_OUTPUT = 600
"""Characters of an output that the model is shown."""

MAX_ERROR = 600
"""Characters of an error that the model is shown."""

_MANNER = (
    "You improve a plan that makes content, after a run of it that was not good enough. You are shown the plan, what "
    "came of each node, and the findings. Propose the fewest edits that mend the causes: better prompts, more time or "
    "retries, or a new node that prepares what an existing one needs. Name every node that must change, and leave "
    "every other one alone: what did well is kept. Gates stay as strict as they are.\n"
    f"{MATERIAL_RULE}\n"
    "Answer with one JSON object: `edits`, each with `node`, `reason` and the fields that change, and `new_nodes`. A "
    "`prompt` replaces the whole prompt and keeps the templates in {{ braces }} that it needs."
)

Words = Annotated[str, Field(min_length=1, max_length=100_000)]
Count = Annotated[int, Field(ge=0, le=50)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Edit(_Part):
    node: str
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]
    prompt: Words | None = None
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    retries: Count | None = None
    retry_delay: Annotated[float, Field(ge=0, le=600)] | None = None
    add_dependencies: Annotated[list[str], Field(max_length=50)] = []


class _NewNode(_Part):
    id: str
    type: Literal["analyze", "generate", "transform"]
    prompt: Words
    dependencies: Annotated[list[str], Field(max_length=50)] = []
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]


class _Answer(_Part):
    edits: Annotated[list[_Edit], Field(max_length=500)] = []
    new_nodes: Annotated[list[_NewNode], Field(max_length=50)] = []


async def replan_by_model(
    report: RunReport,
    compiled: CompiledPlan,
    models: Models,
    check: Callable[[WorkflowPlan], object],
    budget: Budget | None = None,
) -> Replan:
    """Have a model edit a plan after a run of it.

    Args:
        report: Report of the run.
        compiled: The plan of the run as written, compiled with the tools of today.
        models: The model.
        check: Raises a `PlanError` for a plan that cannot run.
        budget: Budget that its calls belong to; `None` for no limit.

    Raises:
        ReplanError: No answer was a plan that can run, or there was no answer.
    """

    def read(text: str) -> Replan:
        edits, added = _edits_of(text, compiled, report)
        plan = edited_plan(compiled.plan, edits, added)
        check(plan)
        return Replan(plan, edits, added)

    checked = await checked_answer(
        Inquiry(
            "edit of the plan",
            models,
            partial(_question, models.config, report, compiled),
            read,
            partial(ReplanError, compiled.plan.id),
            AnswerOptions(budget=budget),
        )
    )
    spent = checked.spent
    return replace(checked.value, model=models.config.usual, tokens=spent.tokens, cost_usd=spent.usd)


def _question(
    config: ModelConfig, report: RunReport, compiled: CompiledPlan, refused: RefusedAnswer | None
) -> Question:
    rest = "\n\n".join(_parts(report, compiled, refused))
    schema = _Answer.model_json_schema()
    bare = Question(config.usual, _MANNER, rest, schema, config.max_tokens, config.temperature)
    run = material_of({"of the plan": _run_text(report)}, room_left(config, bare.input_tokens, "edits"), "the run")
    return replace(bare, prompt=f"{run.text}\n\n{rest}")


def _parts(report: RunReport, compiled: CompiledPlan, refused: RefusedAnswer | None) -> Iterator[str]:
    yield marked("before the edits", plan_yaml(compiled.plan, {}), "the plan")
    task = "Task: propose the edits."
    if refused is not None:
        yield refused.material
        task = "Task: your last answer could not be used, for the faults above. Answer again, whole and mended."
    prompted = [id for id, node in compiled.nodes.items() if takes_prompt(node, report)]
    yield f"{task}\nNodes whose prompt may change: {', '.join(prompted) or 'none'}."


def _run_text(report: RunReport) -> str:
    suggested = {str(item.get("node_id")): item for item in report.replan_suggestions}
    return "\n".join(line for node in report.nodes for line in _node_lines(node, suggested.get(node.id)))


def _node_lines(node: NodeReport, suggestion: Mapping[str, Any] | None) -> Iterator[str]:
    quality = "" if node.quality is None else f", quality {node.quality:g}"
    seconds = "" if node.duration is None else f", {node.duration:.1f} s"
    yield f"- {node.id}: {node.status.value}{quality}{seconds}"
    if node.error is not None:
        yield f"  error: {_line(node.error, MAX_ERROR)}"
    if suggestion is not None:
        yield f"  suggested: {', '.join(node.suggestions) or 'none by name'}"
    judgement = node.provenance.judgement if node.provenance is not None else None
    for one in missed_criteria(judgement) if judgement is not None and not judgement.passed else ():
        quotes = "; ".join(f'"{_line(quote, 200)}"' for quote in one.quotes)
        yield f"  missed: {_line(one.name, 200)}: {_line(one.reason, 300)} {quotes}".rstrip()
    if node.preview:
        yield f"  output: {_line(node.preview, MAX_OUTPUT)}"


def _line(text: str, most: int) -> str:
    return " ".join(cut(text, most).split())


def _edits_of(
    text: str, compiled: CompiledPlan, report: RunReport
) -> tuple[tuple[NodeEdit, ...], tuple[AddedNode, ...]]:
    answer = _Answer.model_validate(read_json_answer(text).data)
    if misfits := [*_misfits(answer, compiled, report), *_input_misfits(answer, compiled, report)]:
        raise UnfitAnswerError(misfits)
    added = tuple(AddedNode(_node_of(new), None, new.reason) for new in answer.new_nodes)
    return tuple(edit for change in answer.edits for edit in _node_edits(change, compiled)), added


def _misfits(answer: _Answer, compiled: CompiledPlan, report: RunReport) -> Iterator[str]:
    if not (answer.edits or answer.new_nodes):
        yield "there are no edits: name at least one"
    for edit in answer.edits:
        node = compiled.nodes.get(edit.node)
        misfit = "is not a node of the plan" if node is None else _misfit(edit, node, compiled, report)
        if misfit is not None:
            yield f"edits: {shorten(edit.node)} {misfit}"
    for new in answer.new_nodes:
        if new.id in compiled.nodes:
            yield f"new_nodes: the plan has a node {new.id!r} already"


def _misfit(edit: _Edit, node: CompiledNode, compiled: CompiledPlan, report: RunReport) -> str | None:
    if is_gate(node, report) and not (edit.prompt is edit.retries is None and not edit.add_dependencies):
        return "is a gate, and gates stay as strict as they are; only its time may change"
    if not takes_prompt(node, report) and (edit.prompt is not None or edit.add_dependencies):
        return "has no prompt that may change, and needs no further dependency: it runs a tool without one"
    if edit.add_dependencies and _is_behind_gate(node.id, compiled, report):
        return "stands behind a gate, and takes no further dependency: the gate would not have judged it"
    if edit.prompt is edit.timeout is edit.retries is edit.retry_delay is None and not edit.add_dependencies:
        return "changes nothing"
    return None


def _is_behind_gate(id: str, compiled: CompiledPlan, report: RunReport) -> bool:
    seen: set[str] = set()
    pending = [id]
    while pending:
        sources = [source for source in compiled.graph.sources(pending.pop()) if source not in seen]
        if any(is_gate(compiled.nodes[source], report) for source in sources):
            return True
        seen.update(sources)
        pending += sources
    return False


def _input_misfits(answer: _Answer, compiled: CompiledPlan, report: RunReport) -> Iterator[str]:
    """Yield the prompts that name inputs of the run which no prompt names yet: an output may have asked for them."""
    declared = compiled.plan.inputs
    known = {
        name
        for node in compiled.nodes.values()
        if takes_prompt(node, report)
        for name in _named_inputs(str(node.inputs.get("prompt", node.node.description)), declared)
    }
    written = [(edit.node, edit.prompt) for edit in answer.edits] + [(new.id, new.prompt) for new in answer.new_nodes]
    for id, prompt in written:
        for name in _named_inputs(prompt or "", declared):
            if name not in known:
                yield f"the prompt of {id!r} names the input {name!r}, which no prompt of the plan names"


def _named_inputs(prompt: str, declared: Collection[str]) -> Collection[str]:
    try:
        reads = references(prompt).inputs
    except InvalidTemplateError:  # the check of the edited plan says what is wrong with it
        return ()
    return declared if reads.any else reads.names


def _node_edits(edit: _Edit, compiled: CompiledPlan) -> Iterator[NodeEdit]:
    node = compiled.nodes[edit.node]
    if edit.prompt is not None:
        path = PROMPT if "prompt" in node.inputs else ("description",)
        yield NodeEdit(edit.node, path, edit.prompt, edit.reason)
    for name in ("timeout", "retries", "retry_delay"):
        if (value := getattr(edit, name)) is not None:
            yield NodeEdit(edit.node, ("policy", name), value, edit.reason)
    if edit.add_dependencies:
        dependencies = [*node.node.dependencies, *edit.add_dependencies]
        yield NodeEdit(edit.node, ("dependencies",), list(dict.fromkeys(dependencies)), edit.reason)


def _node_of(new: _NewNode) -> WorkflowNode:
    inputs = {"prompt": new.prompt}
    return WorkflowNode.model_validate(
        {
            "id": new.id,
            "type": new.type,
            "description": _line(new.prompt, 200),
            "parameters": {"tool": LLM_TOOL, "tool_inputs": inputs},
            "dependencies": new.dependencies,
        }
    )
