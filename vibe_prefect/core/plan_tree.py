"""Walks over a plan's tree and over its data: nodes before their children, siblings in the author's order.

Depth costs no stack. Children are read only after their parent was taken, so a walk can stop at a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from vibe_prefect.core.models import WorkflowNode

DataPath = tuple[str | int, ...]
"""Path in a plan's data: keys and list indices from the top."""


class TreeNode(NamedTuple):
    """A node with its position in the tree; the plan's structure may be invalid."""

    node: WorkflowNode
    """The node as written."""

    parent: str | None
    """Its parent's id."""

    depth: int
    """Its level; 1 for a root node."""

    path: DataPath
    """Path within the plan's data."""

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Ids of the nodes that it depends on, as written, the optional ones last."""
        return (*self.node.dependencies, *self.node.optional_dependencies)


def declared_dependencies(node: WorkflowNode) -> Iterator[tuple[str, int, str]]:
    """Yield each dependency of a node with the field and the index at which it is declared, the optional ones last."""
    for field in ("dependencies", "optional_dependencies"):
        yield from ((field, index, id) for index, id in enumerate(getattr(node, field)))


def tree_nodes(roots: Sequence[WorkflowNode]) -> Iterator[TreeNode]:
    """Yield the nodes of a tree in plan order."""
    stack = [TreeNode(node, None, 1, ("root_nodes", index)) for index, node in reversed(list(enumerate(roots)))]
    while stack:
        item = stack.pop()
        yield item
        if children := item.node.children:
            parent, depth, path = item.node.id, item.depth + 1, (*item.path, "children")
            below = [TreeNode(child, parent, depth, (*path, index)) for index, child in enumerate(children)]
            stack += reversed(below)


def data_nodes(data: Mapping[str, Any]) -> Iterator[tuple[DataPath, Any]]:
    """Yield the data of the nodes in a plan's data, in plan order, with their paths; they may be invalid."""
    stack = _data_below(data, (), "root_nodes")
    while stack:
        path, value = stack.pop()
        yield path, value
        stack += _data_below(value, path, "children")


def _data_below(value: Any, path: DataPath, field: str) -> list[tuple[DataPath, Any]]:
    """Return the data of the nodes right below a plan or a node, the last first."""
    below: object = cast("Mapping[str, Any]", value).get(field) if isinstance(value, Mapping) else None
    nodes = cast("list[Any]", below) if isinstance(below, list) else []
    return [((*path, field, index), node) for index, node in reversed(list(enumerate(nodes)))]


def dotted(path: DataPath) -> str:
    """Write a path for people, such as `root_nodes[0].children[2]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
