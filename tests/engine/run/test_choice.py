"""Choosing which nodes of a run are executed: select, exclude, refresh, per-node caching, reuse across runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.executors import executor, run_id
from tests.plans import node, plan
from vibe_prefect import (
    Choice,
    ExecutionStatus,
    SelectionError,
    WorkflowNode,
    WorkflowPlan,
)

pytestmark = pytest.mark.server

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


class Worker:
    """Counts its calls, so that no two results are the same."""

    def __init__(self) -> None:
        self.executed: list[str] = []

    async def __call__(self, node: WorkflowNode, context: Any) -> dict[str, Any]:
        self.executed.append(node.id)
        return {"text": f"{node.id} {len(self.executed)}"}

    def taken(self) -> list[str]:
        """What was executed since the last call, sorted."""
        taken, self.executed = sorted(self.executed), []
        return taken


def diamond(**policies: dict[str, Any]) -> WorkflowPlan:
    """a -> b, c -> d."""
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    return plan(*(node(id, needs=before, policy=policies.get(id, {})) for id, before in needs.items()))


@pytest.mark.parametrize(
    ("choice", "executed"),
    [
        (Choice(select="a"), ["a"]),
        (Choice(select="+b"), ["a", "b"]),
        (Choice(exclude="d"), ["a", "b", "c"]),
        (Choice(select="type:generate", exclude="c+"), ["a", "b"]),
    ],
)
async def test_only_selected_nodes_are_executed(choice: Choice, executed: list[str]) -> None:
    worker = Worker()
    result = await executor(worker).execute_plan(diamond(), choice=choice)
    assert worker.taken() == executed
    assert sorted(result.ids(COMPLETED)) == executed
    assert result.status is COMPLETED


async def test_a_node_that_is_not_selected_says_so_and_so_do_its_dependents() -> None:
    result = await executor(Worker()).execute_plan(diamond(), choice=Choice(select="a b d"))
    assert result.node_results["c"].error == "Not selected, and there is no record of it to keep"
    assert result.node_results["d"].error == "Dependencies not satisfied: c skipped"


async def test_what_is_not_selected_is_kept_where_there_is_a_record() -> None:
    worker = Worker()
    made = executor(worker)
    await made.execute_plan(diamond(), choice=Choice(exclude="d"))
    worker.taken()
    result = await made.execute_plan(diamond(), resume_from=run_id(made), choice=Choice(select="d"))
    assert worker.taken() == ["d"]
    assert sorted(result.ids(COMPLETED)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("refresh", "executed"), [("b", ["b"]), ("b+", ["b", "d"]), ("a+", ["a", "b", "c", "d"])])
async def test_refreshed_nodes_are_executed_although_there_is_a_record(refresh: str, executed: list[str]) -> None:
    worker = Worker()
    made = executor(worker)
    before = await made.execute_plan(diamond())
    worker.taken()
    first = run_id(made)
    after = await made.execute_plan(diamond(), resume_from=first, choice=Choice(refresh=refresh))
    assert worker.taken() == executed
    changed = [id for id in "abcd" if after.node_results[id].result != before.node_results[id].result]
    assert set(changed) <= set(executed)
    again = await made.execute_plan(diamond(), resume_from=first)
    assert worker.taken() == [], "the refreshed result is what is kept"
    assert again.node_results["b"] == replace(after.node_results["b"], reused=True)


@pytest.mark.parametrize("cache", ["recompute", "disable"])
async def test_a_node_that_is_not_cached_runs_in_every_run_and_its_dependents_with_it(cache: str) -> None:
    worker = Worker()
    made = executor(worker)
    subject = diamond(b={"cache": cache})
    await made.execute_plan(subject)
    assert worker.taken() == ["a", "b", "c", "d"]
    await made.execute_plan(subject, resume_from=run_id(made))
    assert worker.taken() == ["b", "d"]
    kept = {path.name.split("-")[0] for path in Path("records").rglob("*-*") if path.is_file()}
    assert ("b" in kept) == (cache == "recompute")


async def test_another_variation_is_another_result() -> None:
    worker = Worker()
    made = executor(worker)
    await made.execute_plan(diamond())
    worker.taken()
    first = run_id(made)
    await made.execute_plan(diamond(c={"variation": "bolder"}), resume_from=first)
    assert worker.taken() == ["c", "d"]
    await made.execute_plan(diamond(), resume_from=first)
    assert worker.taken() == [], "the first variation is still there"


async def test_runs_of_a_plan_share_records_only_when_asked() -> None:
    worker = Worker()
    await executor(worker).execute_plan(diamond())
    assert worker.taken() == ["a", "b", "c", "d"]
    sharing = executor(worker, reuse="plan")
    await sharing.execute_plan(diamond())
    assert worker.taken() == ["a", "b", "c", "d"]
    await executor(worker, reuse="plan").execute_plan(diamond(d={"variation": 2}))
    assert worker.taken() == ["d"]
    assert sharing.last_run is not None
    assert sharing.last_run.output_root.name == "shared"


@pytest.mark.parametrize("choice", [Choice(select="nope"), Choice(exclude="type:paint"), Choice(refresh="+")])
async def test_a_wrong_selector_is_refused_before_anything_runs(choice: Choice) -> None:
    worker = Worker()
    made = executor(worker)
    with pytest.raises(SelectionError):
        await made.execute_plan(diamond(), choice=choice)
    assert made.last_run is None
