"""Two plans side by side: what was added, removed, changed or moved, and what a resume would execute of it."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic_core import from_json, to_json

from vibe_prefect.core.plan_tree import DataPath, dotted
from vibe_prefect.core.run_values import NOTHING_NAMED
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.gate_changes import gate_changes, listed
from vibe_prefect.plan.graph import GraphNode
from vibe_prefect.plan.keys import NODE_FIELDS_IN_KEY, POLICY_FIELDS_IN_KEY, canonical_json

VALUE_WIDTH = 60
"""Characters of a value that are shown."""

LEAD = 12
"""Characters that a shortened value shows before its first difference."""

_ABSENT: Any = object()
_PLAN_FIELDS_SHOWN = ("id", "source_vibe", "inputs", "estimated_total_duration", "policy")
_RUN_VALUES = ("inputs", "run")
_CONTENT = "the content that it reads"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs."""

    path: str
    """The field, such as `parameters.tool_inputs.text`."""

    old: str | None
    """The earlier value as JSON, shortened; `None` where there is none."""

    new: str | None
    """The later value as JSON, shortened; `None` where there is none."""

    in_key: bool
    """Whether the node's result depends on it: if not, a resume keeps what the node made."""


@dataclass(frozen=True, slots=True)
class Move:
    """A node that has another parent."""

    old: str | None
    """The earlier parent; `None` at the top."""

    new: str | None
    """The later parent; `None` at the top."""


@dataclass(frozen=True)
class PlanDiff:
    """Differences of two plans. Ids are in plan order, those of removed nodes in that of the earlier plan."""

    plan: tuple[FieldChange, ...]
    """Differing fields of the plan itself, nodes left out."""

    added: tuple[str, ...]
    """Ids that only the later plan has."""

    removed: tuple[str, ...]
    """Ids that only the earlier plan has."""

    changed: Mapping[str, tuple[FieldChange, ...]]
    """Differing fields of each changed node, by its id."""

    moved: Mapping[str, Move]
    """Nodes with another parent."""

    through: tuple[str, ...]
    """Nodes that are unchanged where their result is concerned, but depend on outputs that will be others."""

    executes: Mapping[str, str]
    """Reasons, by node id, why resuming the finished earlier run with the later plan would execute a node."""

    total: int
    """Number of nodes in the later plan."""

    gates: Mapping[str, str] = field(default_factory=dict[str, str])
    """Changes of the earlier plan's gates that may have weakened them, by the gates' ids; see `gate_changes`."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.plan or self.added or self.removed or self.changed or self.moved or self.executes)


def diff_plans(a: CompiledPlan, b: CompiledPlan, lost: Mapping[str, str] | None = None) -> PlanDiff:
    """Compare two plans.

    Args:
        a: The earlier plan.
        b: The later one, compiled with the same tools and the same simulation as the earlier one.
        lost: Why the record of a node of the earlier run cannot be reused, by the node's id.
    """
    common_ids = [id for id in b.nodes if id in a.nodes]
    changes = {id: changed_fields(a, b, id) for id in common_ids}
    executed = {id for id in b.nodes if id not in a.nodes or a.nodes[id].key != b.nodes[id].key}
    again = {id: reason for id, reason in (lost or {}).items() if id in b.nodes and id not in executed}
    reasons = {id: reason_to_run(a, b, id, executed) for id in executed} | again
    moves = {id: Move(a.graph.nodes[id].parent, b.graph.nodes[id].parent) for id in common_ids}
    return PlanDiff(
        plan=_plan_changes(a, b),
        added=tuple(id for id in b.nodes if id not in a.nodes),
        removed=tuple(id for id in a.nodes if id not in b.nodes),
        changed={id: fields for id, fields in changes.items() if fields},
        moved={id: move for id, move in moves.items() if move.old != move.new},
        through=tuple(id for id in common_ids if id in executed and not _is_cause(b, id, changes[id])),
        executes={id: reasons[id] for id in b.nodes if id in reasons},
        total=len(b.nodes),
        gates=gate_changes(a, b, {id: [change.path for change in fields] for id, fields in changes.items()}),
    )


def changed_fields(a: CompiledPlan, b: CompiledPlan, id: str) -> tuple[FieldChange, ...]:
    """Return what differs in the own fields of a node that both plans have, sorted by name."""
    old, new = _own_fields(a, id), _own_fields(b, id)
    changes = tuple(_compared(old, new, ()))
    if {"type", "parameters.tool"} & {change.path for change in changes}:
        return tuple(change for change in changes if change.path != "work")  # said already
    return changes


def reason_to_run(a: CompiledPlan | None, b: CompiledPlan, id: str, runs: Container[str]) -> str:
    """Return why a node has no record to reuse.

    Args:
        a: The plan of the earlier run, where it is known.
        b: The plan that is to run.
        id: The node.
        runs: Ids of the nodes that will run.
    """
    if a is None:
        return "no record"
    if id not in a.nodes:
        return "no record of this item" if b.nodes[id].template else "new in the plan"
    if a.nodes[id].key == b.nodes[id].key:
        return "no record"
    if _is_never_kept(b, id):
        return f"cache: {b.nodes[id].policy.cache}"
    fields = [change.path for change in changed_fields(a, b, id) if change.in_key]
    if fields:
        return f"changed: {listed(fields)}"
    changed = [source for source in b.nodes[id].dependencies if a.nodes[source].key != b.nodes[source].key]
    if not changed:  # it gathers, and other nodes or values make up its items
        return "its items changed"
    running = [source for source in changed if source in runs]
    if running:
        return f"depends on {listed(running)}, which {'runs' if len(running) == 1 else 'run'}"
    return f"depends on {listed(changed)}, which changed"


def _is_never_kept(compiled: CompiledPlan, id: str) -> bool:
    """Tell whether a node's policy wants it executed in every run."""
    return compiled.nodes[id].policy.cache != "default"


def _is_cause(compiled: CompiledPlan, id: str, changes: tuple[FieldChange, ...]) -> bool:
    """Tell whether a node is executed for its own sake."""
    return _is_never_kept(compiled, id) or any(change.in_key for change in changes)


def _own_fields(compiled: CompiledPlan, id: str) -> dict[str, Any]:
    """Return a node's fields as JSON data, without its place in the tree."""
    graph_node = compiled.graph.nodes[id]
    fields = graph_node.node.model_dump(
        mode="python", by_alias=False, exclude={"id", "children", "policy", "parameters"}
    )
    fields["parameters"] = graph_node.node.parameters
    fields["dependencies"] = tuple(id for id in graph_node.dependencies if id not in graph_node.optional)
    fields["policy"] = _policy(compiled, graph_node)
    fields["work"] = _work(compiled, id)
    named = compiled.key_parts[id].named if compiled.key_parts else NOTHING_NAMED
    fields |= dict(zip(_RUN_VALUES, named.of(compiled.values), strict=True))
    if id in compiled.values.contents:
        fields[_CONTENT] = compiled.values.contents[id]
    return fields


def _policy(compiled: CompiledPlan, graph_node: GraphNode) -> dict[str, Any]:
    """Return a node's own policy, with what it inherits where that decides the result."""
    policy_fields = graph_node.node.policy.model_dump(mode="python")
    inherited = compiled.plan.policy.model_dump(mode="python", include=set(POLICY_FIELDS_IN_KEY))
    policy = policy_fields | {name: value for name, value in inherited.items() if policy_fields[name] is None}
    return {name: value for name, value in policy.items() if value is not None}


def _work(compiled: CompiledPlan, id: str) -> str:
    """Return who does a node's work, which tells another version of a tool, or a simulation from the real thing."""
    node = compiled.nodes[id]
    return f"{node.backing} {node.tool} {compiled.tools[node.tool]}" if node.tool else str(node.backing)


def _plan_changes(a: CompiledPlan, b: CompiledPlan) -> tuple[FieldChange, ...]:
    old, new = (_plan_fields(side) for side in (a, b))
    return tuple(FieldChange(change.path, change.old, change.new, False) for change in _compared(old, new, ()))


def _plan_fields(compiled: CompiledPlan) -> Any:
    """Return the plan's own fields as JSON data; nobody has checked that the vibe's metadata are."""
    fields = compiled.plan.model_dump(mode="python", include=set(_PLAN_FIELDS_SHOWN))
    return from_json(to_json(fields, fallback=str, inf_nan_mode="strings"))


def _compared(old: Any, new: Any, path: DataPath) -> Iterator[FieldChange]:
    """Yield the fields below a path that differ, each as deep in the data as possible."""
    if old is not _ABSENT and new is not _ABSENT:
        texts = canonical_json(old), canonical_json(new)
        if texts[0] == texts[1]:
            return
        old, new = (json.loads(text) for text in texts)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _compared_mappings(cast("dict[str, Any]", old), cast("dict[str, Any]", new), path)
            return
        if isinstance(old, list) and isinstance(new, list):
            yield from _compared_lists(cast("list[Any]", old), cast("list[Any]", new), path)
            return
    yield _change(old, new, path)


def _compared_mappings(old: dict[str, Any], new: dict[str, Any], path: DataPath) -> Iterator[FieldChange]:
    for name in dict.fromkeys([*old, *new]):
        yield from _compared(old.get(name, _ABSENT), new.get(name, _ABSENT), (*path, name))


def _compared_lists(old: list[Any], new: list[Any], path: DataPath) -> Iterator[FieldChange]:
    if len(old) != len(new):  # what an inserted entry shifts has not changed
        yield _change(old, new, path)
        return
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        yield from _compared(before, after, (*path, index))


def _change(old: Any, new: Any, path: DataPath) -> FieldChange:
    texts = [None if value is _ABSENT else canonical_json(value).decode() for value in (old, new)]
    return FieldChange(dotted(path), *_shortened(*texts), _is_in_key(path))


def _is_in_key(path: DataPath) -> bool:
    if path[0] == "policy":
        return len(path) > 1 and path[1] in POLICY_FIELDS_IN_KEY
    return path[0] in ("work", _CONTENT, *_RUN_VALUES) or path[0] in NODE_FIELDS_IN_KEY


def _shortened(old: str | None, new: str | None) -> tuple[str | None, str | None]:
    """Cut two values to a width, so that the place where they begin to differ can be seen in both."""
    start = 0
    if old is not None and new is not None and max(len(old), len(new)) > VALUE_WIDTH:
        common_length = next(
            (index for index, (x, y) in enumerate(zip(old, new, strict=False)) if x != y), min(len(old), len(new))
        )
        start = max(0, common_length - LEAD)
    return _cut(old, start), _cut(new, start)


def _cut(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    text = f"...{text[start:]}" if start > 0 else text
    return text if len(text) <= VALUE_WIDTH else f"{text[: VALUE_WIDTH - 3]}..."
