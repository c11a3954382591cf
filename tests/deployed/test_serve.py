"""`vibe-prefect serve` and `server start`: one command from a plan file to runs, also by the clock."""

from __future__ import annotations

import json
import re
import subprocess
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.schedules import Schedule

from tests.deployed.api import BOUND, PROGRAM, call, ended, environment, process, stop, trigger, until
from tests.deployed.plans import plan, tool
from vibe_prefect.engine.deployments import PlanDeployment
from vibe_prefect.engine.server_settings import SERVER_SETTINGS
from vibe_prefect.testing import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow]

EVERY = timedelta(seconds=4)
"""From one scheduled run to the next."""


def write(folder: Path, id: str, content: str = "hello") -> str:
    path = folder / f"{id}.json"
    path.write_text(json.dumps(plan(id, tool("text", "write_file", {"path": "text.txt", "content": content}))))
    return path.name


async def test_a_served_plan_runs_as_its_file_says_now(prefect_server: str, folder: Path) -> None:
    name = write(folder, "served", "first words")
    with process(folder, prefect_server, "serve", name, ready="serving"):
        async with get_client() as client:
            assert (await ended(client, await trigger(client, "served"))).state_name == "Completed"
            write(folder, "served", "other words")
            assert (await ended(client, await trigger(client, "served"))).state_name == "Completed"
    texts = [path.read_text() for path in sorted(folder.glob("outputs/served/*/text.txt"))]
    assert sorted(texts) == ["first words", "other words"]
    said = (folder / "serve.log").read_text()
    assert f"Prefect server  {prefect_server.removesuffix('/api')}" in said
    assert "the plan served" in said


async def scheduled_runs(client: PrefectClient, deployment: Any, count: int) -> list[FlowRun]:
    """The runs that the schedule started, once so many have completed."""
    body = {"flow_runs": {"deployment_id": {"any_": [str(deployment)]}}, "sort": "START_TIME_ASC"}

    async def look() -> list[FlowRun] | None:
        found = (await client.request("POST", "/flow_runs/filter", json=body)).json()
        runs = [FlowRun.model_validate(run) for run in found if run["auto_scheduled"]]
        completed = [run for run in runs if run.state_name == "Completed"]
        return completed if len(completed) >= count else None

    return await until(look, f"{count} scheduled runs")


async def test_a_schedule_fires_again_and_again_and_never_overlaps(prefect_server: str, folder: Path) -> None:
    name = write(folder, "clock", "tick")
    deployed = call(folder, prefect_server, "deploy", name, "--pool", "clock")
    assert deployed.returncode == 0, deployed.stderr
    with process(folder, prefect_server, "worker", "start", "--pool", "clock", ready="started!"):
        async with get_client() as client:
            timed = PlanDeployment(
                "clock", "By the clock", str(folder / name), Schedule(interval=EVERY), overlap="wait"
            )
            deployment = await timed.build_for("clock", folder).aapply()
            runs = await scheduled_runs(client, deployment, 2)
            for schedule in await client.read_deployment_schedules(deployment):
                await client.delete_deployment_schedule(deployment, schedule.id)
    for earlier, later in pairwise(runs):
        assert earlier.end_time is not None
        assert later.start_time is not None
        assert earlier.end_time <= later.start_time
    made = list(folder.glob("outputs/clock/*/text.txt"))
    assert len(made) >= 2, "each run makes its own"
    assert len({path.stat().st_ino for path in made}) == len(made)


def test_plans_that_cannot_be_served_are_refused_at_once(prefect_server: str, folder: Path) -> None:
    first = write(folder, "one")
    (folder / "two.json").write_text((folder / first).read_text())
    refused = call(folder, prefect_server, "serve", "one.json", "two.json")
    assert refused.returncode == 2
    assert "are both plans with the id 'one'; rename one" in refused.stderr
    missing = call(folder, prefect_server, "serve", "nope.yaml")
    assert missing.returncode == 2
    assert "nope.yaml" in missing.stderr


def test_server_start_says_what_it_sets_and_sets_it(folder: Path) -> None:
    port = free_port()
    env = environment("", folder)
    del env["PREFECT_API_URL"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [PROGRAM, "server", "start", "--port", str(port)],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        _await(f"http://127.0.0.1:{port}/api/health")
        said = (folder / "server.log").read_text()
        running = psutil.Process(server.pid).environ()
        for name, value in SERVER_SETTINGS.items():
            assert f"{name}={value}" in said
            assert running[name] == value
        assert f"PREFECT_API_URL=http://127.0.0.1:{port}/api" in said
        assert "<title>" in httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True).text
        again = subprocess.run(
            [PROGRAM, "server", "start", "--port", str(port)],
            env=env,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        assert again.returncode == 3
        assert f"a Prefect server answers at http://127.0.0.1:{port} already" in again.stderr
    finally:
        stop(server)


def _await(address: str) -> None:
    end = time.monotonic() + BOUND
    while True:
        try:
            if httpx.get(address).is_success:
                return
        except httpx.TransportError:
            assert time.monotonic() < end, address
            time.sleep(0.1)


def test_commands_that_need_a_server_say_how_to_get_one(folder: Path) -> None:
    write(folder, "alone")
    if _answers_at_home():
        pytest.skip("a Prefect server runs at its default address on this machine")
    for command in (["deploy", "alone.json"], ["blocks", "register"], ["worker", "start"]):
        env = environment("", folder)
        del env["PREFECT_API_URL"]
        ran = subprocess.run([PROGRAM, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert ran.returncode == 3
        assert re.search("no Prefect server: set PREFECT_API_URL .* 'vibe-prefect server start'", ran.stderr)


def _answers_at_home() -> bool:
    try:
        return httpx.get("http://127.0.0.1:4200/api/health").is_success
    except httpx.TransportError:
        return False
