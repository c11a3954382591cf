"""Composites with `for_each` against the rules as plainly as they can be written, on random plans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.reference_model import COMPLETED, FAILED, SKIPPED, Model, whole_plans
from vibe_prefect import ExecutionStatus, PlanError, ToolRegistry, WorkflowNodeType, WorkflowPlan, build_graph, tool
from vibe_prefect.errors import ToolError
from vibe_prefect.testing import run_offline


class ListModel:
    """The statuses of a plan in which one composite runs its children for each of some items."""

    def __init__(self, subject: WorkflowPlan, composite: str, items: int, least: int) -> None:
        self.written, self.composite = Model(subject), composite
        self.items, self.least = [f"i{index}" for index in range(items)], least
        self.inside = set(self.written.subtree(composite)) - {composite}

    def outer_needs(self, id: str) -> set[str]:
        """The nodes that must be whole before one outside of the list, or the composite itself, may begin."""
        needs = self.written.needs(id)
        return {need for need in needs if need not in self.inside}

    def inner_needs(self, id: str, item: str) -> set[str]:
        parent = self.written.parents[id]
        needs = self.written.needs(id) - {self.composite}
        own = {self.named(need, item) if need in self.inside else need for need in needs}
        return own | (self.outer_needs(self.composite) if parent == self.composite else set())

    def named(self, id: str, item: str) -> str:
        return f"{self.composite}.{item}.{id}"

    def statuses(self, failing: set[str]) -> dict[str, ExecutionStatus]:
        statuses: dict[str, ExecutionStatus] = {}
        needs = {id: self.outer_needs(id) for id in self.written.nodes if id not in self.inside}
        needs |= {self.named(id, item): self.inner_needs(id, item) for id in self.inside for item in self.items}
        instances = {item: [self.named(id, item) for id in self.inside] for item in self.items}
        for _ in range(len(needs) + 1):
            for id in [id for id in needs if id not in statuses and needs[id] <= statuses.keys()]:
                whole = all(statuses[need] is COMPLETED for need in needs[id])
                members = [member for ids in instances.values() for member in ids]
                if id == self.composite and whole and not statuses.keys() >= set(members):
                    continue
                status = SKIPPED if not whole else FAILED if id in failing else COMPLETED
                if id == self.composite and whole:
                    done = sum(all(statuses[member] is COMPLETED for member in ids) for ids in instances.values())
                    status = COMPLETED if done >= self.least else FAILED
                statuses[id] = status
        if statuses[self.composite] is SKIPPED:
            return {id: status for id, status in statuses.items() if not id.startswith(f"{self.composite}.")}
        return statuses


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_status_of_a_list_is_the_models(data: st.DataObject) -> None:
    subject = data.draw(whole_plans(max_nodes=9))
    nodes = Model(subject).nodes
    parents = sorted(id for id, member in nodes.items() if member.children)
    assume(parents)
    composite = data.draw(st.sampled_from(parents))
    items = data.draw(st.integers(0, 3))
    least = data.draw(st.integers(0, items))
    for id, member in nodes.items():
        if id == composite:
            member.type = WorkflowNodeType.COMPOSITE
            member.for_each, member.key, member.min_completed = f"{{{{ range({items}) | list }}}}", "i{{ item }}", least
        else:
            member.parameters = {"tool": "obey", "tool_inputs": {"id": "{{ node_id }}"}}
    assume(hangs_together(subject))
    model = ListModel(subject, composite, items, least)
    everything = sorted(model.statuses(set()))
    failing = data.draw(st.sets(st.sampled_from(everything), max_size=3)) - {composite}

    @tool(version="1")
    def obey(id: str) -> str:
        """Fail where that is asked for."""
        if id in failing:
            raise ToolError(f"{id} was told to fail")
        return id

    result = asyncio.run(run_offline(subject, ToolRegistry([obey])))
    expected = model.statuses(failing)
    assert {id: node.status for id, node in result.node_results.items()} == expected
    tolerated = expected[composite] is COMPLETED
    failed = [id for id in failures(expected) if not (tolerated and id.startswith(f"{composite}."))]
    assert result.status is (FAILED if failed else COMPLETED)


def failures(statuses: dict[str, ExecutionStatus]) -> Iterator[str]:
    return (id for id, status in statuses.items() if status is FAILED)


def hangs_together(subject: WorkflowPlan) -> bool:
    try:
        build_graph(subject)
    except PlanError:
        return False
    return True
