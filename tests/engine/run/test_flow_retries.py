"""Prefect runs the whole flow again: what finished is reused, and the caller's own options still hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, ProgressEvent, UsageError, WorkflowNode, run_plan
from vibe_prefect.engine import local_flow
from vibe_prefect.engine.prefect_seam import event_stream
from vibe_prefect.engine.runs.node_snapshots import observe_nodes
from vibe_prefect.plan.selection import Choice

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server", "folder")]

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


@pytest.fixture(autouse=True)
def retrying_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executors call the flow as `PREFECT_FLOWS_DEFAULT_RETRIES=2` makes it."""
    monkeypatch.setattr(local_flow, "run_plan", run_plan.with_options(retries=2))


class Flaky:
    """A handler whose node `flaky` fails so many times."""

    def __init__(self, failures: int) -> None:
        self.executed: list[str] = []
        self._failures = failures

    def __call__(self, node: WorkflowNode) -> str:
        self.executed.append(node.id)
        if node.id == "flaky" and self.executed.count("flaky") <= self._failures:
            raise ValueError(f"attempt {self.executed.count('flaky')}")
        return "done"


NODES = plan(node("a"), node("flaky", needs=["a"]), node("after", needs=["flaky"]))


@pytest.mark.parametrize(("failures", "status"), [(0, COMPLETED), (1, COMPLETED), (2, COMPLETED), (3, FAILED)])
async def test_flow_retry_reuses_what_finished(failures: int, status: ExecutionStatus) -> None:
    handler, events = Flaky(failures), list[ProgressEvent]()
    runner = executor(handler, progress_callback=events.append, checkpoint_interval=1)
    result = await runner.execute_plan(NODES)
    assert result.status is status
    assert Counter(handler.executed) == {"a": 1, "flaky": min(failures + 1, 3)} | (
        {} if status is FAILED else {"after": 1}
    )
    assert result.node_results["a"].reused is (failures > 0)
    kinds = [event.event_type for event in events]
    assert (kinds[0], kinds[-1]) == ("workflow_started", "workflow_completed")
    assert (kinds.count(kinds[0]), kinds.count(kinds[-1])) == (1, 1)
    percents = [event.progress_percent for event in events]
    assert percents == sorted(percents)
    finished = Counter((event.event_type, event.node_id) for event in events if event.event_type == "node_completed")
    assert set(finished.values()) == {1}


async def test_flow_retry_ends_with_the_users_error() -> None:
    options: dict[str, Any] = {"resume_from": "no-such-run"}
    with pytest.raises(UsageError, match="no-such-run"):
        await executor(Flaky(0)).execute_plan(NODES, **options)


async def test_flow_retry_keeps_the_selection() -> None:
    handler = Flaky(1)
    result = await executor(handler).execute_plan(NODES, choice=Choice(select="+flaky"))
    assert result.ids(COMPLETED) == ("a", "flaky")
    assert handler.executed == ["a", "flaky", "flaky"]


async def test_what_an_earlier_try_skipped_belongs_to_that_try_however_late_the_server_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "HELD_AT_ONCE", 0)  # until the end of the run
    runner = executor(Flaky(1), wait_recorded=True)
    result = await runner.execute_plan(NODES)
    assert result.node_results["after"].status is COMPLETED
    assert runner.last_run is not None
    flow_run_id = runner.last_run.flow_run_id
    async with get_client() as client, asyncio.timeout(120):
        while len(tries := await tries_of(client, flow_run_id, "after")) < 2:  # noqa: ASYNC110 - the server has no event of it
            await asyncio.sleep(0.1)
        snapshots = await observe_nodes(client, flow_run_id)
    assert tries == {("Skipped", 1), ("Completed", 2)}
    assert snapshots["after"].status is COMPLETED


async def tries_of(client: PrefectClient, flow_run_id: UUID, name: str) -> set[tuple[str | None, int]]:
    """The states in which the task runs of a name are on record, each with the try of the flow."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    found = await client.read_task_runs(flow_run_filter=of_run)
    return {(run.state_name, run.flow_run_run_count) for run in found if run.name == name}
