"""A plan with placeholders for the values that do not have a plan's shape, so that the rest can be checked too.

A placeholder must not make problems of its own: what it leaves open is kept as `Doubts`, which the checks heed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import ValidationError

from vibe_prefect.core.models import WorkflowNode, WorkflowNodeType, WorkflowPlan, field_names
from vibe_prefect.core.plan_tree import DataPath, dotted
from vibe_prefect.errors import Problem
from vibe_prefect.plan.graph import Doubts
from vibe_prefect.plan.reading.source_text import Fault

_DESCRIPTION = "(not given)"

_SETTLED = frozenset({"id", "description", "policy", "estimated_duration", "when", "on_error", "best_of"})
"""Fields of a node that say nothing about what it does or depends on."""


@dataclass(frozen=True)
class Repaired:
    """A plan with placeholders."""

    plan: WorkflowPlan
    """The plan."""

    doubts: Doubts
    """Parts of the intended plan that are unknown."""

    nameless: Mapping[str, DataPath]
    """Made-up ids, with the paths of their nodes."""

    def named(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return problems without made-up ids: such a node is named by its place."""
        return [self._named(problem) for problem in problems]

    def _named(self, problem: Problem) -> Problem:
        path = self.nameless.get(problem.node_id or "")
        if path is None:
            return problem
        field = ".".join(name for name in (dotted(path), problem.field) if name)
        return replace(problem, node_id=None, field=field)


def owner_of(path: DataPath) -> DataPath:
    """Return the path of the innermost node that a path leads into; empty for the plan itself."""
    end = 0
    while end + 1 < len(path) and path[end] in ("root_nodes", "children") and isinstance(path[end + 1], int):
        end += 2
    return path[:end]


def repair(data: Mapping[str, Any], misshapen: Iterable[DataPath], faults: Sequence[Fault]) -> Repaired | None:
    """Put placeholders in the places of misshapen values.

    Args:
        data: The plan's data; they are not changed.
        misshapen: Paths of values that do not have a plan's shape.
        faults: Values that could not be read as they stand.

    Returns:
        The plan; `None` when there is no sense in it.
    """
    work = _Repair(data)
    for path in misshapen:
        work.replace(path)
    for fault in faults:
        work.heed(fault)
    return work.done()


class _Repair:
    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = _copied(data, "root_nodes")
        self._lost: set[str] = set()
        self._any_id = False
        self._inputs_lost = False
        self._doubtful: list[dict[str, Any]] = []
        self._nameless: dict[str, DataPath] = {}

    def replace(self, path: DataPath) -> None:
        """Put a placeholder in the place of a value."""
        owner = owner_of(path)
        if not path:
            return
        if not owner:
            self._replace_in_plan(path)
            return
        node = self._node(owner)
        if node is not None and len(path) > len(owner):
            self._replace_in_node(node, owner, path[len(owner) :])

    def heed(self, fault: Fault) -> None:
        """Take in what a value that could not be read leaves open."""
        self._lost |= fault.dropped
        within = fault.path[len(owner_of(fault.path)) :]
        text = within[:1] == ("parameters",) and not fault.of_key and isinstance(_value(self._data, fault.path), str)
        if fault.replaced and not text:
            self.replace(fault.path)
        elif owner_of(fault.path) and (node := self._node(owner_of(fault.path))) is not None:
            self._doubtful.append(node)

    def done(self) -> Repaired | None:
        """Return the repaired plan; `None` when it still is none."""
        try:
            plan = WorkflowPlan.model_validate(self._data)
        except ValidationError:
            return None
        nodes = frozenset(node["id"] for node in self._doubtful)
        ids = None if self._any_id else frozenset(self._lost)
        doubts = Doubts(ids, nodes | self._nameless.keys(), self._inputs_lost)
        return Repaired(plan, doubts, self._nameless)

    def _replace_in_plan(self, path: DataPath) -> None:
        field = str(path[0])
        dropped: object = self._data.pop(field, None)
        self._inputs_lost |= field not in WorkflowPlan.model_fields or field == "inputs"
        if field == "id":
            self._data["id"] = "plan"
        elif field == "source_vibe":
            self._data["source_vibe"] = {"description": ""}
        elif field not in WorkflowPlan.model_fields or field == "root_nodes":
            self._lose(dropped)

    def _replace_in_node(self, node: dict[str, Any], owner: DataPath, path: DataPath) -> None:
        field = str(path[0])
        lists_ids = field in ("dependencies", "optional_dependencies")
        if lists_ids and len(path) > 1 and isinstance(node.get(field), list):
            self._lost.add("?")
            node[field] = ["?" if index == path[1] else entry for index, entry in enumerate(node[field])]
            self._doubtful.append(node)
            return
        dropped: object = node.pop(field, None)
        if field == "id":
            self._rename(node, owner, dropped)
        elif field == "description":
            node["description"] = _DESCRIPTION
        elif field == "type":
            node["type"] = WorkflowNodeType.COMPOSITE.value
        if field not in field_names(WorkflowNode) or field == "children":
            self._lose(dropped)
        if field not in _SETTLED:
            self._doubtful.append(node)

    def _rename(self, node: dict[str, Any], owner: DataPath, old_id: object) -> None:
        if old_id is None:
            self._any_id = True
        self._lose(old_id)
        node["id"] = f"node-without-id-{len(self._nameless) + 1}"
        self._nameless[node["id"]] = owner

    def _lose(self, dropped: object) -> None:
        """Remember the texts in what is left out: each may be the id of a node."""
        self._lost.update(_texts(dropped))

    def _node(self, owner: DataPath) -> dict[str, Any] | None:
        """Return the node at a path, made up where there is something else."""
        parent = _value(self._data, owner[:-1])
        if not isinstance(parent, list):
            return None
        siblings, index = cast("list[Any]", parent), cast("int", owner[-1])
        sibling = siblings[index]
        if not isinstance(sibling, dict):
            siblings[index] = {"type": WorkflowNodeType.COMPOSITE.value, "description": _DESCRIPTION}
            self._rename(siblings[index], owner, sibling)
        return siblings[index]


def _copied(data: Mapping[str, Any], below: str) -> dict[str, Any]:
    """Copy a plan or a node with the nodes below it; their values are shared."""
    copied = dict(data)
    nodes = copied.get(below)
    if isinstance(nodes, list):
        below_nodes = cast("list[Any]", nodes)
        copied[below] = [
            _copied(cast("Any", child), "children") if isinstance(child, Mapping) else child for child in below_nodes
        ]
    return copied


def _value(data: Any, path: DataPath) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _texts(value: object) -> Iterator[str]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack += cast("Mapping[Any, Any]", item).values()
        elif isinstance(item, list):
            stack += cast("list[Any]", item)
        elif isinstance(item, str | int):
            yield str(item)
