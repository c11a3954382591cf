"""The contract's rules for order, failure and skipping, as plainly as they can be written; and random plans."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, PlanError, WorkflowNode, WorkflowPlan, build_graph
from vibe_prefect.core.models import OnError

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED

NEVER = "{{ 1 > 2 }}"
"""A condition that is never met."""

IS_SKIPPED = "{{{{ outputs.{} is none }}}}"
"""A condition that is met where a condition skipped the dependency."""


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
        """Everything that must have finished before a node is decided on."""
        parent = self.parents[id]
        found: set[str] = set() if parent is None else {parent}
        subject = self.nodes[id]
        for dependency in (*subject.dependencies, *subject.optional_dependencies):
            if dependency not in self.ancestors(id):
                found |= set(self.subtree(dependency))
        return found

    def statuses(self, failing: set[str]) -> dict[str, ExecutionStatus]:
        """Each node's status in the end; nodes that could never be decided on are missing."""
        return self.ends(failing)[0]

    def ends(self, failing: set[str]) -> tuple[dict[str, ExecutionStatus], set[str]]:
        """Each node's status in the end, and which of the skipped are so by a condition alone."""
        statuses: dict[str, ExecutionStatus] = {}
        by_condition: set[str] = set()
        decided = True
        while decided:
            decided = False
            for id in self.nodes:
                if id not in statuses and self.needs(id) <= statuses.keys():
                    statuses[id] = self._end(id, failing, statuses, by_condition)
                    decided = True
        return statuses, by_condition

    def _end(
        self, id: str, failing: set[str], statuses: dict[str, ExecutionStatus], by_condition: set[str]
    ) -> ExecutionStatus:
        parent, lacking = self.parents[id], self._lacking(id, statuses, by_condition)
        if parent is not None and parent in by_condition:
            lacking = {parent}
        if lacking:
            if lacking <= by_condition:
                by_condition.add(id)
            return SKIPPED
        if not self._is_met(self.nodes[id].when, by_condition):
            by_condition.add(id)
            return SKIPPED
        return FAILED if id in failing and not self._falls_back(id, by_condition) else COMPLETED

    def _falls_back(self, id: str, by_condition: set[str]) -> bool:
        fallback = self.nodes[id].on_error
        return fallback is not None and (fallback.use is None or fallback.use not in by_condition)

    def _lacking(self, id: str, statuses: dict[str, ExecutionStatus], by_condition: set[str]) -> set[str]:
        """What a node needs and does not have: of an optional dependency, what a condition skipped is not missed."""
        subject, ancestors = self.nodes[id], self.ancestors(id)
        required = {member for need in subject.dependencies if need not in ancestors for member in self.subtree(need)}
        optional = {member for need in subject.optional_dependencies for member in self.subtree(need)}
        parent = self.parents[id]
        needed = (optional - by_condition) | required
        if parent is not None:
            needed.add(parent)
        return {member for member in needed if statuses[member] is not COMPLETED}

    def _is_met(self, condition: str | None, by_condition: set[str]) -> bool:
        """Whether one of the two conditions of `choosing_plans` is met."""
        return condition is None or (condition != NEVER and condition.split(".")[1].split()[0] in by_condition)


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


@st.composite
def choosing_plans(draw: st.DrawFn, max_nodes: int = 10) -> WorkflowPlan:
    """Random trees that hang together, with optional dependencies, conditions and fallbacks."""
    subject = draw(whole_plans(max_nodes))
    model = Model(subject)
    for id, member in model.nodes.items():
        movable = [dependency for dependency in member.dependencies if dependency not in model.ancestors(id)]
        optional = draw(st.sets(st.sampled_from(movable))) if movable else set[str]()
        member.optional_dependencies = sorted(optional)
        member.dependencies = [dependency for dependency in member.dependencies if dependency not in optional]
        conditions = [NEVER, *(IS_SKIPPED.format(dependency) for dependency in member.optional_dependencies)]
        if draw(st.integers(0, 3)) == 0:
            member.when = draw(st.sampled_from(conditions))
        usable = [{"value": "instead"}, *({"use": id} for id in (*member.dependencies, *member.optional_dependencies))]
        if draw(st.booleans()):
            member.on_error = OnError.model_validate(draw(st.sampled_from(usable)))
    return subject


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
