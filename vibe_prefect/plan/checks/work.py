"""The checks of what each node is to do, before anything runs: its tool, its inputs, its templates, what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from vibe_prefect.core.models import BestOf, NodePolicy, OnError, WorkflowPlan
from vibe_prefect.core.plan_tree import DataPath, TreeNode, dotted
from vibe_prefect.errors import Finding, Position, Problem, shorten
from vibe_prefect.plan.backing import Backing, Bindings, NodeBinding
from vibe_prefect.plan.checks.best_of import best_of_findings
from vibe_prefect.plan.checks.conditions import condition_findings
from vibe_prefect.plan.checks.fallbacks import fallback_findings
from vibe_prefect.plan.checks.items import has_item_fields, item_findings
from vibe_prefect.plan.checks.template_reads import StatedOutput, TemplateCheck, names_only_outputs
from vibe_prefect.plan.graph import DEFAULT_ITEM, NO_DOUBTS, Doubts, GraphNode, PlanSource
from vibe_prefect.plan.inputs.declared import declaration_findings
from vibe_prefect.plan.keys import canonical_json
from vibe_prefect.plan.reading.repair import owner_of
from vibe_prefect.plan.reading.values import plain_texts, value_problems
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import TEMPLATE_NAMES, InvalidTemplateError, PlacedTemplate
from vibe_prefect.tools.base import (
    Dependency,
    Tool,
    input_problems,
)
from vibe_prefect.tools.registry import HOW_TO_RUN
from vibe_prefect.tools.run_files import RunFiles, leaves_folder, plain_path

MAX_NAMED = 20
"""Number of nodes that a message names; of more it only gives the count."""


MAX_FRESH = 500
"""Nodes of a plan whose keys hold the hash of what they read: each run notes all of these hashes."""


CheckedNode = GraphNode | TreeNode
"""A node of a plan, whose structure holds or does not."""


class WorkChecks:
    """One pass over the work of a plan's nodes."""

    def __init__(
        self, plan: WorkflowPlan, bindings: Bindings, source: PlanSource | None, doubts: Doubts = NO_DOUBTS
    ) -> None:
        """Begin a pass.

        Args:
            plan: The plan.
            bindings: What runs its nodes.
            source: Where the plan's data stand in a file, for the places in messages.
            doubts: What is not as it was written, where the file could not be read whole.
        """
        self._plan = plan
        self._bindings = bindings
        self._source = source
        self._doubts = doubts
        self._places: dict[str, CheckedNode] = {}
        self._outputs: dict[str, StatedOutput | None] = {}
        self._problems: list[Problem] = []
        self._unkept: set[tuple[str | None, str]] = set()
        self._claims = RunFiles()
        texts = plain_texts(plan)
        self._is_plain = texts is not None
        self.may_have_comments = texts is None or any("{#" in text for text in texts)
        """Whether a text of the plan may have a comment of Jinja's in it."""
        self.bindings: list[NodeBinding] = []
        """What runs each of the nodes that were checked, in their order."""
        self._has_lists = False

    def problems(self, nodes: Sequence[CheckedNode]) -> list[Problem]:
        """Return what is wrong with the nodes' own work."""
        self._places = {node.node.id: node for node in nodes}
        self._has_lists = any(node.node.for_each is not None for node in nodes)
        unbacked: list[CheckedNode] = []
        if not self._is_plain:
            self._check_values()
            self._check_plan_json()
        self._check_inputs_declared()
        self.bindings = [self._bindings.of(node.node) for node in nodes]
        for node, binding in zip(nodes, self.bindings, strict=True):
            self._check_options(node, binding)
            if (self._is_plain or self._check_json(node)) and binding.backing is Backing.TOOL:
                self._check_tool(node, binding)
            elif binding.backing is None and node.node.id not in self._doubts.nodes:
                unbacked.append(node)
        self._check_count_of_fresh()
        if unbacked:
            finding = _unbacked_finding([node.node.id for node in unbacked])
            position = self._position(unbacked[0].path)
            self._problems.append(Problem(finding.message, position=position, hint=finding.hint))
        return self._problems

    def _check_values(self) -> None:
        """Refuse values that the server or its database cannot keep, all over the plan."""
        for problem in value_problems(self._plan):
            owner = owner_of(problem.path)
            node: Any = self._plan
            for step in owner:
                node = node[step] if isinstance(step, int) else getattr(node, step)
            id = node.id if owner else None
            self._unkept.add((id, str(problem.path[len(owner)]) if len(problem.path) > len(owner) else ""))
            field = dotted(problem.path[len(owner) :])
            self._problems.append(
                Problem(problem.message, id, field or None, self._position(problem.path), problem.hint)
            )

    def _check_plan_json(self) -> None:
        for field in ("source_vibe", "policy", "inputs"):
            if (None, field) in self._unkept:
                continue
            value = getattr(self._plan, field)
            try:
                canonical_json(value.model_dump() if isinstance(value, BaseModel) else value)
            except TypeError as error:
                self._problems.append(Problem(f"JSON cannot hold this: {error}", None, field, self._position((field,))))

    def _check_inputs_declared(self) -> None:
        if (None, "inputs") in self._unkept:
            return
        for path, finding in declaration_findings(self._plan.inputs):
            place = ("inputs", *path)
            self._problems.append(Problem(finding.message, None, dotted(place), self._position(place), finding.hint))

    def _check_json(self, node: CheckedNode) -> bool:
        for field in ("description", "parameters", "policy"):
            if (node.node.id, field) in self._unkept:
                return False
            value = getattr(node.node, field)
            try:
                canonical_json(value.model_dump() if isinstance(value, NodePolicy) else value)
            except TypeError as error:
                self._problem(node, (field,), f"JSON cannot hold this: {error}")
                return False
        return True

    def _check_options(self, node: CheckedNode, binding: NodeBinding) -> None:
        """Check what few nodes have: a list, a condition, a fallback, variations, a demand for fresh content."""
        written = node.node
        if has_item_fields(written):
            for path, finding in item_findings(written, self._template_check(node)):
                self._problem(node, path, finding.message, finding.hint)
        if written.when is not None:
            self._check_condition(node, written.when)
        if written.on_error is not None:
            self._check_fallback(node, written.on_error)
        if written.best_of is not None:
            self._check_best_of(node, binding, written.best_of)
        if written.policy.fresh is not None:
            self._check_fresh(node, binding)

    def _check_fresh(self, node: CheckedNode, binding: NodeBinding) -> None:
        """Refuse a node of its own that asks for what its tool cannot say; a plan asks those nodes that can."""
        if node.node.id in self._doubts.nodes or binding.backing is None:
            return
        if binding.backing is Backing.TOOL and binding.bound.tool is None:  # unknown, which is told
            return
        if finding := unfit_to_be_fresh(binding):
            self._problem(node, ("policy", "fresh"), finding.message, finding.hint)

    def _check_count_of_fresh(self) -> None:
        """Refuse a plan whose runs would note too many hashes."""
        fresh = [binding for binding in self.bindings if binding.policy.fresh is not None]
        count = sum(unfit_to_be_fresh(binding) is None for binding in fresh)
        if count > MAX_FRESH:
            text = f"{count:,} nodes are to have fresh content; a plan may have {MAX_FRESH:,}"
            finding = Finding.advised(text, "read several files in one node, or leave policy.fresh out")
            self._problems.append(Problem(finding.message, hint=finding.hint))

    def _check_tool(self, node: CheckedNode, binding: NodeBinding) -> None:
        tool_name: Any = node.node.parameters.get("tool")
        if tool_name is not None and not isinstance(tool_name, str):
            self._problem(node, ("parameters", "tool"), f"expected a tool's name, found {shorten(tool_name)}")
            return
        if binding.bound.tool is None:
            finding = self._bindings.tools.unknown_tool(str(binding.named))
            self._problem(node, ("parameters", "tool"), finding.message, finding.hint)
            return
        for lack in binding.bound.lacks:
            self._problem(node, ("parameters", "tool"), f"the tool {binding.named!r} needs {lack}")
        self._check_inputs(node, binding, binding.bound.tool)

    def _check_condition(self, node: CheckedNode, condition: str) -> None:
        if (node.node.id, "when") in self._unkept:
            return
        for finding in condition_findings(condition, self._template_check(node)):
            self._problem(node, ("when",), finding.message, finding.hint)

    def _check_fallback(self, node: CheckedNode, fallback: OnError) -> None:
        if (node.node.id, "on_error") in self._unkept:
            return
        dependencies = None if node.node.id in self._doubts.nodes else node.dependencies
        for path, finding in fallback_findings(node.node.id, fallback, dependencies):
            self._problem(node, ("on_error", *path), finding.message, finding.hint)

    def _check_best_of(self, node: CheckedNode, binding: NodeBinding, choice: BestOf) -> None:
        if (node.node.id, "best_of") in self._unkept or node.node.id in self._doubts.nodes:
            return
        for path, finding in best_of_findings(choice, binding, self._bindings.tools, self._template_check(node)):
            self._problem(node, ("best_of", *path), finding.message, finding.hint)

    def _check_inputs(self, node: CheckedNode, binding: NodeBinding, tool: Tool) -> None:
        stated_inputs = node.node.parameters.get("tool_inputs")
        if stated_inputs is not None and not isinstance(stated_inputs, (dict, Mapping)):
            value = shorten(cast("object", stated_inputs))
            self._problem(node, ("parameters", "tool_inputs"), f"expected a mapping of inputs, found {value}")
            return
        templates = [found for found in binding.templates if not names_only_outputs(found[1], node.dependencies)]
        if templates:
            self._check_templates(node, binding, templates)
        traits, names = binding.bound.traits, binding.bound.input_names
        dependencies = self._dependencies(node) if traits.check_plan is not None else {}
        for problem in input_problems(tool, binding.inputs, dependencies, traits):
            message = f"{problem.message} (tool {binding.named!r})"
            if problem.of_dependencies:
                self._problem(node, ("dependencies",), message, problem.hint)
            elif not any(problem.path[: len(path)] == path for path in _filled(binding)):
                self._problem(node, _field(problem.path, binding), message, problem.hint)
        if names.paths or names.folders:
            self._check_outputs(node, binding)

    def _check_templates(self, node: CheckedNode, binding: NodeBinding, templates: Sequence[PlacedTemplate]) -> None:
        check, raw, own = self._template_check(node), binding.bound.input_names.raw, binding.own_names
        count = len(self._problems)
        for path, text in templates:
            is_raw = path[0] in raw
            for finding in check.findings(text, raw=is_raw, own=own if is_raw else ()):
                self._problem(node, _field(path, binding), finding.message, finding.hint, finding.at)
        if len(self._problems) == count:
            binding.naming = [(path, references(text)) for path, text in templates]

    def _check_outputs(self, node: CheckedNode, binding: NodeBinding) -> None:
        templated = _filled(binding)
        defaults = binding.bound.input_names.default_outputs(node.node.id)
        literal = {name: path for name, path in (defaults | binding.inputs).items() if (name,) not in templated}
        self._claim_outputs(node, binding, literal, defaults)

    def _template_check(self, node: CheckedNode) -> TemplateCheck:
        doubtful = node.node.id in self._doubts.nodes
        declared = None if self._doubts.inputs else self._plan.inputs
        items = tuple(self._items(node)) if self._has_lists else ()
        return TemplateCheck(None if doubtful else node.dependencies, self._stated_output, declared, items)

    def _items(self, node: CheckedNode) -> Iterator[str]:
        """Yield the names of the items that a node runs for, the innermost first."""
        seen: set[str] = set()  # where two nodes have one id, parents may go round
        while node.parent is not None and node.parent in self._places and node.parent not in seen:
            seen.add(node.parent)
            node = self._places[node.parent]
            if node.node.for_each is not None:
                yield node.node.item_name or DEFAULT_ITEM

    def _claim_outputs(
        self, node: CheckedNode, binding: NodeBinding, literal: Mapping[str, Any], defaults: Mapping[str, str]
    ) -> None:
        """Refuse a path that another node writes, as far as it can be seen: what a template makes is known later."""
        id, folders = node.node.id, binding.bound.input_names.folders
        for name in sorted(binding.bound.input_names.outputs):
            path = literal.get(name)
            if isinstance(path, str) and leaves_folder(path):
                finding = Finding.advised(f"{path!r} lies outside the run's output folder", "use a path below it")
                self._problem(node, ("parameters", "tool_inputs", name), finding.message, finding.hint)
            item = next(self._items(node), None)
            if item is not None and name in binding.inputs and isinstance(path, str):
                text = f"each item would write {path!r}"
                finding = Finding.advised(text, f"put a part of the item into the path, such as {{{{ {item}.id }}}}")
                self._problem(node, ("parameters", "tool_inputs", name), finding.message, finding.hint)
                continue
            plain = plain_path(path) if isinstance(path, str) else None
            clash = self._claims.claim(plain, id, folder=name in folders) if plain else None
            if clash is not None:
                owner_position = self._position((*self._places[clash.owner].path, "parameters"))
                hint = f"leave {name!r} out for {defaults[name]!r}" if name in defaults else "name another path"
                finding = Finding.advised(
                    f"{path!r} is taken: {clash.reason}{f' ({owner_position})' if owner_position else ''}", hint
                )
                self._problem(node, ("parameters", "tool_inputs", name), finding.message, finding.hint)

    def _dependencies(self, node: CheckedNode) -> dict[str, Dependency]:
        bindings = {id: self._bindings.of(self._places[id].node) for id in node.dependencies if id in self._places}
        return {
            id: Dependency(bindings[id].bound.tool, bindings[id].backing is Backing.COMPOSITE)
            if id in bindings
            else Dependency(None)
            for id in node.dependencies
        }

    def _stated_output(self, id: str) -> StatedOutput | None:
        """Return what is known of a node's output; `None` for nothing."""
        if id not in self._outputs:
            node = self._places.get(id)
            doubtful = node is None or id in self._doubts.nodes
            self._outputs[id] = None if doubtful else _output_of(self._bindings.of(cast("Any", node).node))
        return self._outputs[id]

    def _problem(
        self,
        node: CheckedNode,
        field: DataPath,
        message: str,
        hint: str | None = None,
        at: tuple[int, int] | None = None,
    ) -> None:
        position = self._position((*node.path, *field, *(at or ())))
        self._problems.append(Problem(message, node.node.id, dotted(field), position, hint))

    def _position(self, path: DataPath) -> Position | None:
        return self._source.position(path) if self._source else None


def _output_of(binding: NodeBinding) -> StatedOutput | None:
    if binding.node.for_each is not None:
        fields: dict[str, Any] = {child.id: {} for child in binding.node.children}
        items: dict[str, Any] = {"type": "object", "properties": fields, "additionalProperties": False}
        return StatedOutput(
            {"type": "array", "items": items}, "a composite with for_each: a list, an object for each item"
        )
    if binding.backing is Backing.COMPOSITE:
        return StatedOutput({"type": "string"}, "a composite, whose children do the work")
    if binding.bound.tool is None:
        return None
    stated_inputs: object = binding.node.parameters.get("tool_inputs") or {}
    schema_for = binding.bound.traits.output_schema_for
    stated = getattr(binding.bound.tool.spec, "output_schema", None)  # a foreign spec may state none
    schema = schema_for(cast("Any", stated_inputs)) if schema_for and isinstance(stated_inputs, Mapping) else stated
    return StatedOutput(schema, f"the tool {binding.named!r}")


def _filled(binding: NodeBinding) -> list[DataPath]:
    """Return the paths of the templates that are filled in before the tool is called."""
    return [path for path, _ in binding.templates if path[0] not in binding.bound.input_names.raw]


def _field(path: DataPath, binding: NodeBinding) -> DataPath:
    """Return where the plan has what an input is made of: the description fills some of them."""
    return ("description",) if path and path[0] in binding.described else ("parameters", "tool_inputs", *path)


def unfit_to_be_fresh(binding: NodeBinding) -> Finding | None:
    """Return why nobody can say before the run what a node reads from outside; `None` where its tool can."""
    if binding.backing is Backing.SIMULATION:
        return None
    if binding.bound.traits.content_hash is None:
        name = f"the tool {binding.named!r}" if binding.tool_name is not None else "this node, which no tool runs,"
        return Finding.advised(f"{name} cannot say the content that it reads", "leave 'fresh' out")
    for path, text in binding.templates:
        try:
            names = references(text)
        except InvalidTemplateError:  # told where it stands
            continue
        if names.names - TEMPLATE_NAMES:
            message = f"what it reads is only known once its list is, since {dotted(path)} names the item"
            return Finding.advised(message, "leave 'fresh' out")
        if names.outputs or names.any_output:
            named = f"outputs.{names.outputs[0]}" if names.outputs else "outputs"
            message = f"what it reads is only known during the run, since {dotted(path)} names {named}"
            return Finding.advised(message, "name inputs alone, or leave 'fresh' out")
    return None


def _unbacked_finding(ids: list[str]) -> Finding:
    listed = ", ".join(repr(id) for id in ids[:MAX_NAMED])
    unlisted = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    verb = "node has" if len(ids) == 1 else "nodes have"
    return Finding.advised(
        f"{len(ids)} {verb} no tool, no handler and no model to run them: {listed}{unlisted}",
        HOW_TO_RUN,
    )
