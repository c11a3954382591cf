"""A real worker executes deployed plans; they are cancelled, the worker is stopped, and runs go on from there."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from tests.deployed.api import (
    BOUND,
    call,
    deployment_id,
    ended,
    in_state,
    node_states,
    process,
    task_runs,
    trigger,
    until,
)
from tests.deployed.gate import WIDTH, Gate, running_gate
from tests.deployed.plans import chains, plan, tool, written
from vibe_prefect.tools.registry import HOW_TO_ADD, TOOLS_VARIABLE

pytestmark = [pytest.mark.server, pytest.mark.slow]

POOL = "station"
BUSY = chains("busy", 4, 100)
"""400 nodes that take 0.1 s when simulated, four side by side, so that a signal comes at any moment of their work."""


@dataclass
class Station:
    """A folder with a deployment, and a worker that can be exchanged."""

    api: str
    folder: Path
    gate: Gate
    worker: subprocess.Popen[bytes] | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        ready = process(
            self.folder, self.api, "worker", "start", "--pool", POOL, ready="started!", **self.gate.settings
        )
        self.worker = self._stack.enter_context(ready)

    def stop(self, number: signal.Signals) -> int:
        assert self.worker is not None
        self.worker.send_signal(number)
        return self.worker.wait(BOUND)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def station(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Station]:
    folder = tmp_path_factory.mktemp(POOL)
    (folder / "any.json").write_text(json.dumps(written(POOL)))
    # Each test waits for the runs that it starts, so that none needs to wait for another's.
    deployed = call(folder, prefect_server, "deploy", "any.json", "--pool", POOL, "--overlap", "allow")
    assert deployed.returncode == 0, deployed.stderr
    assert f"made the work pool '{POOL}', of type process" in deployed.stdout
    with running_gate() as gate:
        station = Station(prefect_server, folder, gate)
        station.start()
        yield station
        station.close()


@pytest.fixture(autouse=True)
def closed(station: Station) -> None:
    station.gate.opened.clear()


async def held(client: PrefectClient, station: Station, id: str) -> UUID:
    """A run of the plan that stands still at the gate."""
    run = await trigger(client, POOL, plan=station.gate.plan(id))

    async def look() -> bool | None:
        return station.gate.held(id) or None

    await until(look, "the nodes that are held")
    return run


async def assert_the_rest_is_done(client: PrefectClient, station: Station, id: str, run: UUID) -> None:
    """Go on from a run, and see that nothing finished is executed again."""
    before = station.gate.times(id)
    assert before == {"first": WIDTH, "held": WIDTH, "last": 0}
    station.gate.opened.set()
    resumed = await trigger(client, POOL, plan=station.gate.plan(id), resume_from=str(run))
    found = await ended(client, resumed)
    assert found.state is not None
    assert found.state.is_completed(), found.state.message
    assert await node_states(client, resumed, 3 * WIDTH) == {"Cached": WIDTH, "Completed": 2 * WIDTH}
    assert station.gate.times(id) == {"first": WIDTH, "held": 2 * WIDTH, "last": WIDTH}


async def assert_told_off(client: PrefectClient, run: UUID) -> None:
    """Each node has ended: what was at work and what had not begun are told apart."""
    assert await node_states(client, run, 3 * WIDTH) == {"Completed": WIDTH, "Cancelled": 2 * WIDTH}
    for task in await task_runs(client, run):
        kind = task["name"].split("-")[0]
        expected = {
            "first": None,
            "held": "The run was cancelled while this node was at work",
            "last": "The run was cancelled before this node began",
        }
        assert expected[kind] is None or task["state"]["message"] == expected[kind]


async def assert_end_is_an_event(client: PrefectClient, run: UUID, end: str) -> None:
    """The end of the run is an event that says which run it was and how to go on."""
    wanted = {
        "event": {"prefix": ["vibe-prefect.run."]},
        "related": {"id": [f"prefect.flow-run.{run}"]},
    }

    async def look() -> list[dict[str, Any]] | None:
        response = await client.request("POST", "/events/filter", json={"filter": wanted, "limit": 10})
        return list(response.json()["events"]) or None

    events = await until(look, f"an event of the end of {run}")
    assert [event["event"] for event in events] == [f"vibe-prefect.run.{end}"]
    payload = events[0]["payload"]
    name = (await client.read_flow_run(run)).name
    assert (payload["run_name"], payload["resume"]) == (name, f"vibe-prefect resume {name}")
    assert payload["plan_id"] == name.rpartition("-")[0].rpartition("-")[0]


async def test_deploys_and_executes(station: Station) -> None:
    async with get_client() as client:
        run = await trigger(client, POOL)
        found = await ended(client, run)
        assert found.state is not None
        assert found.state.is_completed(), found.state.message
        assert await node_states(client, run, 2) == {"Completed": 2}
    assert [path.read_text() for path in station.folder.glob("outputs/*/*/child.txt")] == ["from the child"]


async def test_a_worker_says_whether_it_could_run_the_plan(station: Station) -> None:
    """It checks where it works, with what it has there; nothing is executed, and no run is left."""
    own = "from vibe_prefect import tool\n\n@tool\ndef own() -> str:\n    return ''\n"
    (station.folder / "tools.py").write_text(own)
    nodes = tool("post", "llm_generate", {}), tool("mine", "own", {})
    (station.folder / "checked.json").write_text(json.dumps(plan("checked", *nodes)))
    model = {"PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS": "openai:gpt-5", "OPENAI_API_KEY": "sk-not-on-the-worker"}
    able = call(station.folder, station.api, "deploy", "any.json", "--check")
    options = ("--pool", POOL, "--check", "--tools", "tools.py")
    unable = call(station.folder, station.api, "deploy", "checked.json", *options, **model)
    assert able.returncode == 0, able.stderr
    assert f"checked  a worker of the pool {POOL!r} could run it" in able.stdout
    assert unable.returncode == 2, unable.stdout
    assert "needs    model openai:gpt-5, for post" in unable.stdout
    assert "needs    key in the variable OPENAI_API_KEY, for llm_generate" in unable.stdout
    assert f"needs    file of tools tools.py (--tools or {TOOLS_VARIABLE}), for own" in unable.stdout
    refused = " ".join(unable.stderr.split())
    assert f"a worker of the pool {POOL!r} could not run the plan: " in refused
    assert "the tool 'llm_generate' needs a model, and none is configured" in refused
    assert "node 'mine', parameters.tool: unknown tool 'own'" in refused
    assert HOW_TO_ADD in refused
    async with get_client() as client:
        deployment = await deployment_id(client, "checked")
        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
        assert await client.read_flow_runs(flow_run_filter=wanted) == []


def test_a_pool_that_is_not_there_is_told(station: Station) -> None:
    told = "there is no work pool 'statoin' yet: one for processes is made, and nothing is deployed to it so far"
    folder = station.folder / "elsewhere"
    folder.mkdir()
    with process(folder, station.api, "worker", "start", "--pool", "statoin", ready=told):
        pass


async def test_cancelled(station: Station) -> None:
    async with get_client() as client:
        run = await held(client, station, "cancelled")
        await client.set_flow_run_state(run, Cancelling())  # as the button in the UI does it
        assert (await in_state(client, run, "Cancelled", "Crashed", "Completed")).state_name == "Cancelled"
        await assert_end_is_an_event(client, run, "cancelled")
        await assert_told_off(client, run)  # that a resume then does the rest, a person sees in `test_browser.py`


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped(number: signal.Signals, station: Station) -> None:
    id = number.name.lower()
    async with get_client() as client:
        run = await held(client, station, id)
        assert station.stop(number) == 0
        found = await ended(client, run)
        assert found.state_name == "Crashed"
        await assert_told_off(client, run)
        await assert_end_is_an_event(client, run, "crashed")
        station.start()
        if number == signal.SIGTERM:
            await assert_the_rest_is_done(client, station, id, run)


@pytest.mark.storm
async def test_stopped_amid_the_work(station: Station) -> None:
    async with get_client() as client:
        run = await trigger(client, POOL, plan=BUSY, simulate=True)
        await in_state(client, run, "Running")

        async def look() -> bool | None:
            kept = [path for path in (station.folder / "home" / "storage").rglob("c*") if path.is_file()]
            return True if len(kept) >= 12 else None

        await until(look, "the first nodes")
        assert station.stop(signal.SIGTERM) == 0
        found: FlowRun = await ended(client, run)
        states = await node_states(client, run, len(BUSY["root_nodes"]))
        assert found.state_name == "Crashed"
        assert states["Cancelled"] >= 1
        assert states["Crashed"] <= 1  # the signal may hit the very code of one node
        station.start()
        resumed = await trigger(client, POOL, plan=BUSY, simulate=True, resume_from=str(run))
        assert (await ended(client, resumed)).state_name == "Completed"
        again = await node_states(client, resumed, len(BUSY["root_nodes"]))
        # What was kept at the very moment of the signal counts as finished, though Prefect shows it as Cancelled.
        assert states["Completed"] <= again["Cached"] <= states["Completed"] + 4
        assert again.total() == again["Cached"] + again["Completed"]
