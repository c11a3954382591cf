"""The engine on a real Prefect server against the reference model, on hundreds of random plans."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference_model import FAILED, SKIPPED, Model, choosing_plans
from vibe_prefect import (
    ExecutionResult,
    NodeResult,
    RunObserver,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
)

pytestmark = pytest.mark.server

EXAMPLES = 30
"""How many plans the ordinary suite tries."""

STORM = 120
"""How many the slow one tries."""


class Journal(RunObserver):
    """An observer that writes down what began and what finished, in order."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.finished_at_start: dict[str, set[str]] = {}

    def node_started(self, node: WorkflowNode) -> None:
        assert node.id not in self.finished_at_start, f"{node.id} started twice"
        self.finished_at_start[node.id] = set(self.finished)

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        self.finished.append(node.id)

    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        raise AssertionError(f"{node.id} cannot have been complete before")


def run(subject: WorkflowPlan, failing: set[str], folder: Path) -> tuple[ExecutionResult, Journal]:
    async def handler(node: WorkflowNode) -> dict[str, Any]:
        await asyncio.sleep(0.001 * (sum(map(ord, node.id)) % 4))
        if node.id in failing:
            raise ValueError(f"{node.id} was told to fail")
        return {"result": node.id, "id": node.id}

    journal = Journal()
    executor = WorkflowExecutor(observers=[journal], storage=folder / "records", output=folder / "outputs")
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, handler)
    return asyncio.run(executor.execute_plan(subject)), journal


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(STORM, marks=pytest.mark.storm)])
def test_every_status_is_the_models(tmp_path: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        assert_statuses_are_the_models(tmp_path, data)

    check()


def assert_statuses_are_the_models(tmp_path: Path, data: st.DataObject) -> None:
    subject = data.draw(choosing_plans())
    model = Model(subject)
    failing = data.draw(st.sets(st.sampled_from(sorted(model.nodes)), max_size=3))
    result, journal = run(subject, failing, tmp_path)

    expected = model.statuses(failing)
    assert {id: one.status for id, one in result.node_results.items()} == expected
    assert list(result.node_results) == list(model.nodes)
    assert sorted(journal.finished) == sorted(model.nodes), "every node finishes exactly once"
    for id, finished in journal.finished_at_start.items():
        assert model.needs(id) <= finished, f"{id} started too early"
    assert journal.finished_at_start.keys() == {id for id, status in expected.items() if status is not SKIPPED}
    assert (result.status is FAILED) == (FAILED in expected.values())
