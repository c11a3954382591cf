"""Retry of a failed flow run, as the button in the Prefect UI does it, in a served deployment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

pytestmark = [pytest.mark.server, pytest.mark.slow]

BOUND = 30.0
SERVE = "from vibe_prefect import run_plan; run_plan.serve(name='retried')"


def tool(id: str, name: str, inputs: dict[str, Any], *needs: str) -> dict[str, Any]:
    parameters = {"tool": name, "tool_inputs": inputs}
    return {"id": id, "type": "transform", "description": id, "dependencies": list(needs), "parameters": parameters}


PLAN = {
    "id": "retried",
    "source_vibe": {"description": "A run that fails at first"},
    "root_nodes": [
        tool("first", "write_file", {"path": "first.txt", "content": "made once"}),
        tool("late", "read_text", {"path": "late.txt"}, "first"),
        tool("last", "write_file", {"path": "last.txt", "content": "{{ outputs.late.text }}"}, "late"),
    ],
}


@pytest.fixture
def served(prefect_server: str, folder: Path) -> Generator[None]:
    """A process that serves the flow, in the test's folder."""
    settings = {
        "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE], cwd=folder, env={**os.environ, **settings}, stdout=log, stderr=log
        )
    yield
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def deployment_id(client: PrefectClient) -> UUID:
    end = time.monotonic() + BOUND
    while True:
        try:
            return (await client.read_deployment_by_name("run-plan/retried")).id
        except ObjectNotFound:
            assert time.monotonic() < end, "the deployment did not appear"
            await asyncio.sleep(0.2)


async def ended(client: PrefectClient, run: UUID, tries: int) -> FlowRun:
    """The flow run once it has ended its so many-th try."""
    end = time.monotonic() + BOUND
    while True:
        found = await client.read_flow_run(run)
        if found.state is not None and found.state.is_final() and found.run_count == tries:
            return found
        assert time.monotonic() < end, f"the run is {found.state_name} in try {found.run_count}"
        await asyncio.sleep(0.2)


async def task_states(client: PrefectClient, run: UUID, expected: int) -> list[tuple[str, str]]:
    end = time.monotonic() + BOUND
    body = {"flow_runs": {"id": {"any_": [str(run)]}}, "sort": "EXPECTED_START_TIME_ASC"}
    while True:
        found = (await client.request("POST", "/task_runs/filter", json=body)).json()
        states = [(task["name"], task["state_name"]) for task in found]
        if len(states) == expected and all(state not in ("Pending", "Running") for _, state in states):
            return states
        assert time.monotonic() < end, states
        await asyncio.sleep(0.2)


async def retry(client: PrefectClient, run: UUID, tries: int) -> None:
    await client.set_flow_run_state(run, AwaitingRetry(), force=True)
    retried = await ended(client, run, tries)
    assert retried.state is not None
    assert retried.state.is_completed(), retried.state.message


async def test_retry_executes_only_what_had_not_finished_and_puts_files_back(served: None, folder: Path) -> None:
    async with get_client() as client:
        deployment = await deployment_id(client)
        run = (await client.create_flow_run_from_deployment(deployment, parameters={"plan": PLAN})).id
        failed = await ended(client, run, 1)
        assert failed.state is not None
        assert failed.state.message is not None
        assert failed.state.message.startswith("plan 'retried': 1 of 3 nodes failed, 1 skipped")
        (first,) = folder.glob("outputs/retried/*/first.txt")

        first.write_text("edited by hand meanwhile")
        (folder / "late.txt").write_text("here at last")
        await retry(client, run, 2)
        states = await task_states(client, run, 6)
        assert first.read_text() == "made once"

        first.unlink()
        await retry(client, run, 3)
        again = await task_states(client, run, 9)
    assert states[:3] == [("first", "Completed"), ("late", "Failed"), ("last", "Skipped")]
    assert states[3:] == [("first", "Cached"), ("late", "Completed"), ("last", "Completed")]
    assert again[6:] == [("first", "Cached"), ("late", "Cached"), ("last", "Cached")]
    assert first.read_text() == "made once"
    assert first.with_name("last.txt").read_text() == "here at last"
