"""The checks of what each node is to do, before anything runs: its tool, its inputs, its templates, what it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from vibe_prefect.core.models import NodePolicy, WorkflowPlan
from vibe_prefect.core.plan_tree import DataPath, TreeNode, dotted
from vibe_prefect.errors import Finding, Position, Problem, shorten
from vibe_prefect.plan.backing import Backing, Bindings, NodeBinding
from vibe_prefect.plan.graph import NO_DOUBTS, Doubts, GraphNode, PlanSource
from vibe_prefect.plan.keys import canonical_json
from vibe_prefect.plan.reading.repair import owner_of
from vibe_prefect.plan.reading.values import value_problems
from vibe_prefect.plan.template_checks import StatedOutput, TemplateCheck
from vibe_prefect.tools.base import (
    OUTPUT_FOLDER,
    OUTPUT_PATH,
    Dependency,
    Tool,
    default_outputs,
    input_problems,
    inputs_of_format,
)
from vibe_prefect.tools.registry import HOW_TO_RUN
from vibe_prefect.tools.run_files import RunFiles, leaves_folder, plain_path

MAX_NAMED = 20
"""How many nodes a message names before it only counts."""


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

    def problems(self, nodes: Sequence[CheckedNode]) -> list[Problem]:
        """Return what is wrong with the nodes' own work."""
        self._places = {place.node.id: place for place in nodes}
        unbacked: list[CheckedNode] = []
        self._check_values()
        self._check_plan_json()
        for place in nodes:
            binding = self._bindings.of(place.node)
            if self._check_json(place) and binding.backing is Backing.TOOL:
                self._check_tool(place, binding)
            elif binding.backing is None and place.node.id not in self._doubts.nodes:
                unbacked.append(place)
        if unbacked:
            found = _unbacked_finding([place.node.id for place in unbacked])
            position = self._position(unbacked[0].path)
            self._problems.append(Problem(found.message, position=position, hint=found.hint))
        return self._problems

    def _check_values(self) -> None:
        """Refuse values that the server or its database cannot keep, all over the plan."""
        for found in value_problems(self._plan):
            owner = owner_of(found.path)
            node: Any = self._plan
            for part in owner:
                node = node[part] if isinstance(part, int) else getattr(node, part)
            id = node.id if owner else None
            self._unkept.add((id, str(found.path[len(owner)]) if len(found.path) > len(owner) else ""))
            field = dotted(found.path[len(owner) :])
            self._problems.append(Problem(found.message, id, field or None, self._position(found.path), found.hint))

    def _check_plan_json(self) -> None:
        for field in ("source_vibe", "policy"):
            if (None, field) in self._unkept:
                continue
            try:
                canonical_json(getattr(self._plan, field).model_dump())
            except TypeError as error:
                self._problems.append(Problem(f"JSON cannot hold this: {error}", None, field, self._position((field,))))

    def _check_json(self, place: CheckedNode) -> bool:
        for field in ("description", "parameters", "policy"):
            if (place.node.id, field) in self._unkept:
                return False
            value = getattr(place.node, field)
            try:
                canonical_json(value.model_dump() if isinstance(value, NodePolicy) else value)
            except TypeError as error:
                self._problem(place, (field,), f"JSON cannot hold this: {error}")
                return False
        return True

    def _check_tool(self, place: CheckedNode, binding: NodeBinding) -> None:
        named: Any = place.node.parameters.get("tool")
        if named is not None and not isinstance(named, str):
            self._problem(place, ("parameters", "tool"), f"expected a tool's name, found {shorten(named)}")
            return
        if binding.tool is None:
            found = self._bindings.tools.unknown_tool(str(binding.named))
            self._problem(place, ("parameters", "tool"), found.message, found.hint)
            return
        for lack in binding.traits.lacks:
            self._problem(place, ("parameters", "tool"), f"the tool {binding.named!r} needs {lack}")
        self._check_inputs(place, binding, binding.tool)

    def _check_inputs(self, place: CheckedNode, binding: NodeBinding, tool: Tool) -> None:
        written = place.node.parameters.get("tool_inputs")
        if written is not None and not isinstance(written, Mapping):
            found = shorten(cast("object", written))
            self._problem(place, ("parameters", "tool_inputs"), f"expected a mapping of inputs, found {found}")
            return
        doubtful = place.node.id in self._doubts.nodes
        check = TemplateCheck(None if doubtful else place.dependencies, self._stated_output)
        for template in binding.templates:
            for found in check.findings(template.text, raw=template.raw):
                self._problem(place, _field(template.path, binding), found.message, found.hint)
        templated = [template.path for template in binding.templates if not template.raw]
        for problem in input_problems(tool, binding.inputs, self._dependencies(place)):
            message = f"{problem.message} (tool {binding.named!r})"
            if problem.of_dependencies:
                self._problem(place, ("dependencies",), message, problem.hint)
            elif not any(problem.path[: len(path)] == path for path in templated):
                self._problem(place, _field(problem.path, binding), message, problem.hint)
        defaults = default_outputs(tool, place.node.id)
        literal = {name: path for name, path in (defaults | binding.inputs).items() if (name,) not in templated}
        self._claim_outputs(place, tool, literal, defaults)

    def _claim_outputs(
        self, place: CheckedNode, tool: Tool, literal: Mapping[str, Any], defaults: Mapping[str, str]
    ) -> None:
        """Refuse a path that another node writes, as far as it can be seen: what a template makes is known later."""
        id, folders = place.node.id, inputs_of_format(tool, OUTPUT_FOLDER)
        for name in sorted(inputs_of_format(tool, OUTPUT_PATH) | folders):
            path = literal.get(name)
            if isinstance(path, str) and leaves_folder(path):
                outside = Finding.advised(f"{path!r} lies outside the run's output folder", "use a path below it")
                self._problem(place, ("parameters", "tool_inputs", name), outside.message, outside.hint)
            plain = plain_path(path) if isinstance(path, str) else None
            clash = self._claims.claim(plain, id, folder=name in folders) if plain else None
            if clash is not None:
                where = self._position((*self._places[clash.owner].path, "parameters"))
                hint = f"leave {name!r} out for {defaults[name]!r}" if name in defaults else "name another path"
                taken = Finding.advised(f"{path!r} is taken: {clash.reason}{f' ({where})' if where else ''}", hint)
                self._problem(place, ("parameters", "tool_inputs", name), taken.message, taken.hint)

    def _dependencies(self, place: CheckedNode) -> dict[str, Dependency]:
        known = {id: self._bindings.of(self._places[id].node) for id in place.dependencies if id in self._places}
        return {
            id: Dependency(known[id].tool, known[id].backing is Backing.COMPOSITE) if id in known else Dependency(None)
            for id in place.dependencies
        }

    def _stated_output(self, id: str) -> StatedOutput | None:
        """Return what is known of a node's output; `None` for nothing."""
        if id not in self._outputs:
            place = self._places.get(id)
            doubtful = place is None or id in self._doubts.nodes
            self._outputs[id] = None if doubtful else _output_of(self._bindings.of(cast("Any", place).node))
        return self._outputs[id]

    def _problem(self, place: CheckedNode, field: DataPath, message: str, hint: str | None = None) -> None:
        position = self._position((*place.path, *field))
        self._problems.append(Problem(message, place.node.id, dotted(field), position, hint))

    def _position(self, path: DataPath) -> Position | None:
        return self._source.position(path) if self._source else None


def _output_of(binding: NodeBinding) -> StatedOutput | None:
    if binding.backing is Backing.COMPOSITE:
        return StatedOutput({"type": "string"}, "a composite, whose children do the work")
    if binding.tool is None:
        return None
    written: object = binding.node.parameters.get("tool_inputs") or {}
    schema_for = binding.traits.output_schema_for
    stated = getattr(binding.tool.spec, "output_schema", None)  # a foreign spec may state none
    schema = schema_for(cast("Any", written)) if schema_for and isinstance(written, Mapping) else stated
    return StatedOutput(schema, f"the tool {binding.named!r}")


def _field(path: DataPath, binding: NodeBinding) -> DataPath:
    """Return where the plan has what an input is made of: the description fills some of them."""
    return ("description",) if path and path[0] in binding.described else ("parameters", "tool_inputs", *path)


def _unbacked_finding(ids: list[str]) -> Finding:
    named = ", ".join(repr(id) for id in ids[:MAX_NAMED])
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    verb = "node has" if len(ids) == 1 else "nodes have"
    return Finding.advised(
        f"{len(ids)} {verb} no tool, no handler and no model to run them: {named}{more}",
        HOW_TO_RUN,
    )
