"""Checks of the variations of a node, and of the tool that scores them, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from vibe_prefect.core.models import BestOf, WorkflowNodeType
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Finding, did_you_mean
from vibe_prefect.plan.backing import Backing, NodeBinding
from vibe_prefect.plan.checks.template_reads import TemplateCheck
from vibe_prefect.plan.keys import canonical_json
from vibe_prefect.plan.node_tools import scorer_inputs
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import TEMPLATE_NAMES, InvalidTemplateError, walk_templates
from vibe_prefect.tools.base import Tool, input_problems
from vibe_prefect.tools.registry import ToolRegistry

CANDIDATE = "output"
"""Name by which the inputs of the tool that scores read a variation."""

_Findings = Iterator[tuple[DataPath, Finding]]


def best_of_findings(choice: BestOf, binding: NodeBinding, tools: ToolRegistry, check: TemplateCheck) -> _Findings:
    """Yield what is wrong with `best_of` of a node, each with its path within the field.

    Args:
        choice: The field.
        binding: What runs the node.
        tools: The tools that nodes may name.
        check: Check of the node's templates.
    """
    kind = binding.node.type
    if kind is not WorkflowNodeType.GENERATE:
        yield (
            (),
            Finding.advised(f"only generate nodes make variations, and this one is of type {kind}", "leave it out"),
        )
        return
    if binding.backing is Backing.HANDLER:
        yield (), Finding("a handler runs this node, and variations are made by tools only")
        return
    if choice.criteria is not None and choice.tool is not None:
        hint = "leave one of them out"
        yield (), Finding.advised("expected 'criteria' for the tool 'judge', or another 'tool', found both", hint)
        return
    try:
        canonical_json(choice.model_dump())
    except TypeError as error:
        yield (), Finding(f"JSON cannot hold this: {error}")
        return
    if binding.backing is Backing.TOOL:
        yield from _scorer_findings(choice, tools, check)


def _scorer_findings(choice: BestOf, tools: ToolRegistry, check: TemplateCheck) -> _Findings:
    scorer = tools.get(choice.scorer)
    if scorer is None:
        yield ("tool",) if choice.tool is not None else (), tools.unknown_tool(choice.scorer)
        return
    for lack in tools.traits(choice.scorer).lacks:
        yield (), Finding(f"the tool {choice.scorer!r} needs {lack}")
    yield from _input_findings(choice, scorer, check)


def _input_findings(choice: BestOf, scorer: Tool, check: TemplateCheck) -> _Findings:
    inputs = scorer_inputs(choice)
    templates = walk_templates(inputs)
    for path, text in templates:
        yield from ((_place(choice, path), finding) for finding in _template_findings(text, check))
    for problem in input_problems(scorer, inputs):
        if not any(problem.path[: len(path)] == path for path, _ in templates):
            message = f"{problem.message} (tool {choice.scorer!r})"
            yield _place(choice, problem.path), Finding(message, problem.hint)


def _template_findings(text: str, check: TemplateCheck) -> Iterator[Finding]:
    yield from check.findings(text, raw=True)
    try:
        names = references(text).names
    except InvalidTemplateError:
        return
    known = TEMPLATE_NAMES | {CANDIDATE}
    for name in sorted(names - known):
        hint = did_you_mean(name, known) or "the variation is 'output'"
        yield Finding.advised(f"the template names {name!r}, which is not defined", hint)


def _place(choice: BestOf, path: DataPath) -> DataPath:
    return path if choice.tool is None and path[:1] == ("criteria",) else ("tool_inputs", *path)
