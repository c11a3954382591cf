"""A real worker executes deployed plans; they are cancelled, the worker is stopped, and runs go on from there."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.states import Cancelling

from tests.deployed.api import call, ended, in_state, node_states, process, task_runs, trigger, until
from tests.deployed.plans import chains, written

pytestmark = [pytest.mark.server, pytest.mark.slow]

COUNT = 240
SLOW = chains("slow", 4, 60)
"""240 nodes, four side by side, so that much is left when the run is stopped: six seconds or more."""


def deploy(folder: Path, api: str, name: str, *options: str) -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(written(name)))
    deployed = call(folder, api, "deploy", str(path), "--pool", name, *options)
    assert deployed.returncode == 0, deployed.stderr
    return deployed.stdout


@pytest.fixture
def worker(prefect_server: str, folder: Path, request: pytest.FixtureRequest) -> Generator[Any]:
    """A worker of a pool of its own, which is named like the deployment and the test."""
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].lower()
    said = deploy(folder, prefect_server, name)
    assert f"made the work pool '{name}', of type process" in said
    with process(folder, prefect_server, "worker", "start", "--pool", name, ready="started!") as started:
        started.name = name  # pyright: ignore[reportAttributeAccessIssue]
        yield started


async def half_way(client: PrefectClient, run: UUID) -> None:
    """Return when some nodes have completed, and others have not begun."""
    await in_state(client, run, "Running")

    async def look() -> bool | None:
        done = [task for task in await task_runs(client, run) if task["state_name"] == "Completed"]
        return True if len(done) >= 8 else None

    await until(look, "the first nodes")


async def assert_the_rest_is_done(client: PrefectClient, name: str, run: UUID, done: int) -> None:
    resumed = await trigger(client, name, plan=SLOW, simulate=True, resume_from=str(run))
    found = await ended(client, resumed)
    assert found.state is not None
    assert found.state.is_completed(), found.state.message
    assert await node_states(client, resumed, COUNT) == {"Cached": done, "Completed": COUNT - done}


async def test_deploys_and_executes(worker: Any, folder: Path) -> None:
    async with get_client() as client:
        run = await trigger(client, worker.name)
        found = await ended(client, run)
        assert found.state is not None
        assert found.state.is_completed(), found.state.message
        assert await node_states(client, run, 2) == {"Completed": 2}
    assert [path.read_text() for path in folder.glob("outputs/*/*/child.txt")] == ["from the child"]


async def test_cancelled(worker: Any) -> None:
    async with get_client() as client:
        run = await trigger(client, worker.name, plan=SLOW, simulate=True)
        await half_way(client, run)
        await client.set_flow_run_state(run, Cancelling())  # as the button in the UI does it
        found = await in_state(client, run, "Cancelled", "Crashed", "Completed")
        assert found.state_name == "Cancelled"
        states = await node_states(client, run, COUNT)
        assert states["Cancelled"] >= 8
        assert states["Crashed"] <= 1  # the signal may hit the very code of one node
        assert states.keys() <= {"Completed", "Cancelled", "Crashed"}
        messages = {task["state"]["message"] for task in await task_runs(client, run)}
        assert "The run was cancelled while this node was at work" in messages
        assert "The run was cancelled before this node began" in messages
        await assert_the_rest_is_done(client, worker.name, run, states["Completed"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped(number: signal.Signals, worker: Any, prefect_server: str, folder: Path) -> None:
    async with get_client() as client:
        run = await trigger(client, worker.name, plan=SLOW, simulate=True)
        await half_way(client, run)
        worker.send_signal(number)
        found = await ended(client, run)
        assert worker.wait(30) == 0
        assert found.state_name == "Crashed"
        states = await node_states(client, run, COUNT)
        assert states["Completed"] >= 8
        assert states["Cancelled"] >= 8
        assert states["Crashed"] <= 1  # as above
        with process(folder, prefect_server, "worker", "start", "--pool", worker.name, ready="started!"):
            await assert_the_rest_is_done(client, worker.name, run, states["Completed"])
