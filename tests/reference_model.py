"""The contract's rules for order, failure and skipping, as plainly as they can be written; and random plans."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, PlanError, WorkflowNode, WorkflowPlan, build_graph

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


class Model:
    """A plan's nodes, and what each of them needs."""

    def __init__(self, subject: WorkflowPlan) -> None:
        self.nodes: dict[str, WorkflowNode] = {}
        self.parents: dict[str, str | None] = {}
        for root in subject.root_nodes:
            self._add(root, None)

    def _add(self, member: WorkflowNode, parent: str | None) -> None:
        self.nodes[member.id] = member
        self.parents[member.id] = parent
        for child in member.children:
            self._add(child, member.id)

    def subtree(self, id: str) -> Iterator[str]:
        yield id
        for child in self.nodes[id].children:
            yield from self.subtree(child.id)

    def ancestors(self, id: str) -> set[str]:
        parent = self.parents[id]
        return set() if parent is None else {parent, *self.ancestors(parent)}

    def needs(self, id: str) -> set[str]:
        """Everything that must have finished before a node is decided on, and completed for it to run."""
        parent = self.parents[id]
        found: set[str] = set() if parent is None else {parent}
        for dependency in self.nodes[id].dependencies:
            if dependency not in self.ancestors(id):
                found |= set(self.subtree(dependency))
        return found

    def statuses(self, failing: set[str]) -> dict[str, ExecutionStatus]:
        """Each node's status in the end; nodes that could never be decided on are missing."""
        statuses: dict[str, ExecutionStatus] = {}
        decided = True
        while decided:
            decided = False
            for id in self.nodes:
                if id not in statuses and self.needs(id) <= statuses.keys():
                    whole = all(statuses[need] is COMPLETED for need in self.needs(id))
                    statuses[id] = SKIPPED if not whole else FAILED if id in failing else COMPLETED
                    decided = True
        return statuses


@st.composite
def loose_plans(draw: st.DrawFn, max_nodes: int = 10) -> WorkflowPlan:
    """Random trees with dependencies anywhere: some hang together, some do not."""
    count = draw(st.integers(1, max_nodes))
    parents = [draw(st.one_of(st.none(), st.integers(0, index - 1))) if index else None for index in range(count)]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    return _tree(parents, draw(st.lists(pairs, max_size=count)))


@st.composite
def whole_plans(draw: st.DrawFn, max_nodes: int = 12) -> WorkflowPlan:
    """Random trees with dependencies across their branches that hang together."""
    count = draw(st.integers(1, max_nodes))
    parents = [draw(st.one_of(st.none(), st.integers(0, index - 1))) if index else None for index in range(count)]
    kept: list[tuple[int, int]] = []
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    for pair in draw(st.lists(pairs, max_size=2 * count)):
        if _hangs_together(_tree(parents, [*kept, pair])):
            kept.append(pair)
    return _tree(parents, kept)


def _hangs_together(subject: WorkflowPlan) -> bool:
    try:
        build_graph(subject)
    except PlanError:
        return False
    return True


def _tree(parents: list[int | None], dependencies: list[tuple[int, int]]) -> WorkflowPlan:
    nodes = [node(f"n{index}") for index in range(len(parents))]
    for target, source in dependencies:
        nodes[target].dependencies.append(f"n{source}")
    for index, parent in enumerate(parents):
        if parent is not None:
            nodes[parent].children.append(nodes[index])
    return plan(*(nodes[index] for index, parent in enumerate(parents) if parent is None))
