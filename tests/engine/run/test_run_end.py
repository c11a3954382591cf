"""What comes after the last node is bounded, and never replaces the result."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.executors import executor
from tests.faulty_server import FaultyServer
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, RunObserver, WorkflowNode
from vibe_prefect.engine import run_end
from vibe_prefect.engine.publish import drain
from vibe_prefect.engine.server import server_failures
from vibe_prefect.results import ExecutionResult

pytestmark = pytest.mark.server

MINUTE = 60.0


@pytest.fixture
def server(prefect_server: str, folder: object) -> Generator[FaultyServer]:
    with FaultyServer(prefect_server).running() as faulty, temporary_settings({PREFECT_API_URL: faulty.api_url}):
        yield faulty


def done(node: WorkflowNode) -> str:
    if node.id == "bad":
        raise ValueError("bad")
    return "done"


class AtTheEnd(RunObserver):
    """Does something right after the last node."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def run_finished(self, result: ExecutionResult) -> None:
        self._act()


BACK_LATER = "did not answer, or answered to come back later"
FAULTS: list[tuple[Callable[[FaultyServer], object], str, str]] = [
    (lambda server: server.fail(500), "failed (500 for ", "fine"),
    (lambda server: server.fail(503), BACK_LATER, "bad"),
    (lambda server: server.fail(401), "wants a login (401 for ", "bad"),
    (lambda server: server.vanish(), BACK_LATER, "fine"),
]


@pytest.mark.parametrize(("act", "said", "last"), FAULTS, ids=["500", "503", "401", "gone"])
async def test_run_returns_its_result_when_the_server_fails_at_the_end(
    act: Callable[[FaultyServer], object],
    said: str,
    last: str,
    server: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(run_end, "END_SECONDS", 2.0 if said == BACK_LATER else MINUTE / 2)
    begun = time.monotonic()
    runner = executor(done, observers=[AtTheEnd(lambda: act(server))], wait_recorded=True)
    with caplog.at_level(logging.WARNING, logger="vibe_prefect"):
        result = await runner.execute_plan(plan(node("a"), node(last, needs=["a"])))
    assert time.monotonic() - begun < MINUTE
    assert result.status is (ExecutionStatus.FAILED if last == "bad" else ExecutionStatus.COMPLETED)
    assert runner.last_run is not None
    assert runner.last_run.recorded is None
    (warning,) = [record.getMessage() for record in caplog.records if record.name == run_end.__name__]
    assert said in warning
    assert f"`vibe-prefect resume {runner.last_run.name}`" in warning


async def test_nodes_go_on_when_the_server_vanishes_and_resuming_reuses_them(
    server: FaultyServer, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_end, "END_SECONDS", 2.0)
    executed: list[str] = []

    async def handler(node: WorkflowNode) -> str:
        if not executed:
            server.vanish()
        executed.append(node.id)
        return "done"

    nodes = plan(node("a"), node("b", needs=["a"]), node("c", needs=["b"]))
    runner = executor(handler)
    assert (await runner.execute_plan(nodes)).status is ExecutionStatus.COMPLETED
    assert runner.last_run is not None
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        resumed = await runner.execute_plan(nodes, resume_from=str(runner.last_run.flow_run_id))
    assert resumed.status is ExecutionStatus.COMPLETED
    assert executed == ["a", "b", "c"]


async def test_count_of_task_runs_that_the_server_refuses_is_left_out(
    server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    runner = executor(done)
    await runner.execute_plan(plan(node("a")))
    assert runner.last_run is not None
    server.fail(422)
    with caplog.at_level(logging.WARNING, logger=drain.__name__):
        assert await drain.wait_recorded(runner.last_run.flow_run_id, 1) is None
    (warning,) = [record.getMessage() for record in caplog.records if record.name == drain.__name__]
    assert warning.startswith("the task runs on record could not be counted: ")


@pytest.mark.parametrize(
    ("version", "end"), [("3.8.7", "from its UI"), ("3.4.25", "is Prefect 3.4.25, this needs 3.8 or newer")]
)
async def test_task_runs_that_a_server_does_not_take_in_are_told_with_its_version(
    version: str, end: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_failures, "server_version", lambda: version)
    with caplog.at_level(logging.WARNING, logger=drain.__name__):
        await drain.warn_of_missing("plan-x", 0, 2)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == drain.__name__]
    assert warning.startswith("The Prefect server has 0 of 2 task runs of plan-x on record")
    assert warning.endswith(end)


@pytest.mark.usefixtures("prefect_server", "folder")
async def test_waiting_for_records_ends_when_the_server_takes_in_nothing_more() -> None:
    runner = executor(done, wait_recorded=True)
    await runner.execute_plan(plan(node("a")))
    assert runner.last_run is not None
    begun = time.monotonic()
    assert await drain.wait_recorded(runner.last_run.flow_run_id, 10_000, patience=3) == 1
    assert time.monotonic() - begun < MINUTE
