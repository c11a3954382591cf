"""Edits of a plan as values, and the plan that they make. A node that no edit names stays as it is, and so its key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.core.models import WorkflowNode, WorkflowPlan

PROMPT = ("parameters", "tool_inputs", "prompt")
"""Path of the prompt within a node's data."""


@dataclass(frozen=True, slots=True)
class NodeEdit:
    """New value of one field of a node."""

    node_id: str
    """Id of the node, as the plan has it."""

    path: tuple[str, ...]
    """Path of the field within the node's data, such as `policy`, `timeout`."""

    value: Any
    """Value that the field gets."""

    reason: str
    """Reason in a sentence, for people."""


@dataclass(frozen=True, slots=True)
class AddedNode:
    """Node that the plan gets besides those it has."""

    node: WorkflowNode
    """The node."""

    parent: str | None
    """Id of the composite that it goes into; `None` for the top."""

    reason: str
    """Reason in a sentence, for people."""


@dataclass(frozen=True, slots=True)
class OpenSuggestion:
    """Suggestion that was not carried out."""

    node_id: str
    """Id of the node, as the report has it."""

    change: str
    """Suggested change, such as `break_into_smaller_tasks`."""

    reason: str
    """Reason why it is left to a person, or to a model."""


@dataclass(frozen=True)
class Replan:
    """Edited plan, and how it came about."""

    plan: WorkflowPlan
    """The edited plan; the earlier one where there are no edits."""

    edits: tuple[NodeEdit, ...] = ()
    """Edits of nodes."""

    added: tuple[AddedNode, ...] = ()
    """Nodes that were added."""

    open: tuple[OpenSuggestion, ...] = ()
    """Suggestions that were not carried out."""

    model: str | None = None
    """Name of the model that replanned; `None` for a replan by rule."""

    tokens: int = 0
    """Tokens that the model used, input and output together."""

    cost_usd: float | None = 0.0
    """US dollars that the model cost; `None` where that is not known."""

    @property
    def is_empty(self) -> bool:
        """Whether the plan stays as it is."""
        return not (self.edits or self.added)

    @property
    def reasons(self) -> Mapping[str, str]:
        """Reasons for the edits of each node on one line, by its id."""
        reasons: dict[str, dict[str, None]] = {}
        for edit in self.edits:
            reasons.setdefault(edit.node_id, {})[edit.reason] = None
        for added in self.added:
            reasons.setdefault(added.node.id, {})[added.reason] = None
        return {id: " ".join("; ".join(texts).split()) for id, texts in reasons.items()}

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each edited or added node: its id, and the reasons."""
        return tuple(f"{id}: {reason}" for id, reason in self.reasons.items())


_Edits = Mapping[str, Sequence[NodeEdit]]


def edited_plan(plan: WorkflowPlan, edits: Sequence[NodeEdit], added: Sequence[AddedNode] = ()) -> WorkflowPlan:
    """Return a plan with edits made; the given plan is not changed.

    Args:
        plan: The plan.
        edits: Edits of its nodes.
        added: Nodes to add, each after those that are there.

    Raises:
        ValidationError: A value does not fit its field.
    """
    if not (edits or added):
        return plan
    by_node: dict[str, list[NodeEdit]] = {}
    for edit in edits:
        by_node.setdefault(edit.node_id, []).append(edit)
    return plan.model_copy(update={"root_nodes": _edited(plan.root_nodes, None, by_node, added)})


def _edited(
    nodes: Iterable[WorkflowNode], parent: str | None, edits: _Edits, added: Sequence[AddedNode]
) -> list[WorkflowNode]:
    new = [item.node for item in added if item.parent == parent]
    return [*(_edited_node(node, edits, added) for node in nodes), *new]


def _edited_node(node: WorkflowNode, edits: _Edits, added: Sequence[AddedNode]) -> WorkflowNode:
    own = edits.get(node.id)
    children = _edited(node.children, node.id, edits, added)
    if not own:
        return node if children == node.children else node.model_copy(update={"children": children})
    data = node.model_dump(by_alias=True, exclude={"children"})
    for edit in own:
        _put(data, edit.path, edit.value)
    return WorkflowNode.model_validate(data).model_copy(update={"children": children})


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        inner = data.get(name)
        data[name] = dict(cast("Mapping[str, Any]", inner)) if isinstance(inner, Mapping) else {}
        data = data[name]
    data[path[-1]] = value
