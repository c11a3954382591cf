"""`vibe-prefect serve` and `server start`: one command from a plan file to runs, also by the clock."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx
import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.schedules import Schedule

from tests.deployed.api import (
    BOUND,
    PROGRAM,
    assert_runs_alone_by_the_clock,
    call,
    ended,
    environment,
    ignored_hang_ups,
    process,
    stop,
    trigger,
    until,
)
from tests.deployed.gate import Gate, running_gate
from tests.deployed.plans import plan, tool
from vibe_prefect.engine.deploy.deployments import PlanDeployment, deployment_of, is_served
from vibe_prefect.engine.server.settings import SERVER_SETTINGS
from vibe_prefect.testing import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow]

EVERY = timedelta(seconds=5)
"""From one scheduled run to the next."""

Overlap = Literal["wait", "skip"]
STATES: dict[Overlap, str] = {"wait": "AwaitingConcurrencySlot", "skip": "Cancelled"}
"""The state of a run that is due while another one of its deployment is at work."""


def write(folder: Path, id: str, content: str = "hello", *more: dict[str, Any]) -> str:
    path = folder / f"{id}.json"
    path.write_text(json.dumps(plan(id, tool("text", "write_file", {"path": "text.txt", "content": content}), *more)))
    return path.name


def write_with_tool(folder: Path, content: str) -> str:
    """Write a plan, and beside it the file of the tool that its last node names."""
    (folder / "tools.py").write_text(
        "from vibe_prefect import tool\n\n"
        f"@tool\ndef words() -> dict[str, str]:\n    return {{'text': {content + '!'!r}}}\n"
    )
    said = tool("said", "write_file", {"path": "said.txt", "content": "{{ outputs.words.text }}"}, "words")
    return write(folder, "served", content, tool("words", "words", {}), said)


async def test_a_served_plan_runs_as_its_file_and_its_file_of_tools_say_now(prefect_server: str, folder: Path) -> None:
    name = write_with_tool(folder, "first words")
    with process(folder, prefect_server, "serve", name, "--tools", "tools.py", ready="serving"):
        async with get_client() as client:
            assert (await ended(client, await trigger(client, "served"))).state_name == "Completed"
            assert is_served(await deployment_of(client, "served"))
            write_with_tool(folder, "other words")
            assert (await ended(client, await trigger(client, "served"))).state_name == "Completed"
    async with get_client() as client:
        assert not is_served(await deployment_of(client, "served"))
    texts = [path.read_text() for path in sorted(folder.glob("outputs/served/*/text.txt"))]
    assert sorted(texts) == ["first words", "other words"]
    said_texts = [path.read_text() for path in sorted(folder.glob("outputs/served/*/said.txt"))]
    assert sorted(said_texts) == ["first words!", "other words!"]
    said = (folder / "serve.log").read_text()
    assert f"Prefect server  {prefect_server.removesuffix('/api')}" in said
    assert "the plan served" in said


@pytest.fixture(scope="module")
def clock(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Path, Gate]]:
    """The folder of a worker whose pool is `clock`, and what its plans fetch from. A hang-up does not end it."""
    folder = tmp_path_factory.mktemp("clock")
    plan_file = write(folder, "clock")
    deployed = call(folder, prefect_server, "deploy", plan_file, "--pool", "clock")
    assert deployed.returncode == 0, deployed.stderr
    with (
        running_gate() as gate,
        ignored_hang_ups(),
        process(
            folder, prefect_server, "worker", "start", "--pool", "clock", ready="started!", **gate.settings
        ) as worker,
    ):
        worker.send_signal(signal.SIGHUP)
        yield folder, gate
        assert worker.poll() is None


async def scheduled_runs(client: PrefectClient, deployment: UUID) -> list[FlowRun]:
    body = {"flow_runs": {"deployment_id": {"any_": [str(deployment)]}}, "sort": "START_TIME_ASC"}
    found = (await client.request("POST", "/flow_runs/filter", json=body)).json()
    return [FlowRun.model_validate(run) for run in found if run["auto_scheduled"]]


async def collided(client: PrefectClient, run: FlowRun) -> bool:
    """Tell whether a run found its deployment busy: it waits, or was left out."""
    states = {state.name for state in await client.read_flow_run_states(run.id)}
    return not states.isdisjoint({"AwaitingConcurrencySlot", "Cancelled"})


async def collided_run(client: PrefectClient, deployment: UUID) -> FlowRun:
    """A run that is due while another one of its deployment is at work."""

    async def look() -> FlowRun | None:
        for run in await scheduled_runs(client, deployment):
            if await collided(client, run):
                return run
        return None

    return await until(look, "a run that is due while another one is at work")


async def completed_runs(client: PrefectClient, deployment: UUID) -> list[FlowRun]:
    """At least two runs by the clock."""

    async def look() -> list[FlowRun] | None:
        runs = [run for run in await scheduled_runs(client, deployment) if run.state_name == "Completed"]
        return runs if len(runs) >= 2 else None

    return await until(look, "two runs by the clock")


async def test_a_schedule_fires_again_and_again_and_never_overlaps(clock: tuple[Path, Gate]) -> None:
    folder, gate = clock
    deployments: dict[Overlap, UUID] = {}
    async with get_client() as client:
        try:
            for overlap in STATES:
                id = f"clock-{overlap}"
                fetch = tool("fresh", "http_fetch", {"url": gate.url("held", id), "path": "fresh.txt"})
                (folder / f"{id}.json").write_text(json.dumps(plan(id, fetch)))
                timed = PlanDeployment(id, "By the clock", f"{id}.json", Schedule(interval=EVERY), overlap=overlap)
                deployments[overlap] = await timed.build_for("clock", folder).aapply()
            for overlap, deployment in deployments.items():
                late = await collided_run(client, deployment)
                await until_fetched(gate, f"clock-{overlap}")
                assert gate.hits[f"clock-{overlap}"] == 1, "no other one is at work"
                assert (await client.read_flow_run(late.id)).state_name == STATES[overlap]
                if overlap == "wait":
                    await stop_schedule(client, deployment)
            gate.opened.set()
            for overlap, deployment in deployments.items():
                assert_one_after_the_other(await completed_runs(client, deployment))
                texts = [path.read_text() for path in folder.glob(f"outputs/clock-{overlap}/*/fresh.txt")]
                assert len(set(texts)) == len(texts) >= 2, "each run makes its own"
        finally:
            for deployment in deployments.values():
                await client.delete_deployment(deployment)


async def stop_schedule(client: PrefectClient, deployment: UUID) -> None:
    """Make no more runs: on a slow machine those that wait would outnumber what a SQLite server can look after."""
    for schedule in (await client.read_deployment(deployment)).schedules:
        await client.update_deployment_schedule(deployment, schedule.id, active=False)


async def until_fetched(gate: Gate, id: str) -> None:
    async def look() -> bool | None:
        return gate.hits[id] > 0 or None

    await until(look, f"the fetch of {id}")


def assert_one_after_the_other(runs: list[FlowRun]) -> None:
    for earlier, later in pairwise(runs):
        assert earlier.end_time is not None
        assert later.start_time is not None
        assert earlier.end_time <= later.start_time


async def test_deploy_by_the_clock(prefect_server: str, folder: Path) -> None:
    name = write(folder, "monday")
    by_the_clock = ["--cron", "0 6 * * 1", "--timezone", "Europe/Berlin", "--overlap", "skip", "--tag", "weekly"]
    deployed = call(folder, prefect_server, "deploy", name, "--pool", "never", *by_the_clock)
    assert deployed.returncode == 0, deployed.stderr
    assert "deployed run-plan/monday, at '0 6 * * 1' in Europe/Berlin" in deployed.stdout
    async with get_client() as client:
        found = await client.read_deployment_by_name("run-plan/monday")
    assert_runs_alone_by_the_clock(found, "0 6 * * 1")
    assert sorted(found.tags) == ["vibe-prefect", "weekly"]


async def test_a_deployment_keeps_what_the_command_does_not_name(prefect_server: str, folder: Path) -> None:
    name = write(folder, "kept")
    (folder / "below").mkdir()

    def deploy(*options: str) -> str:
        done = call(folder, prefect_server, "deploy", name, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    everything = ["--cron", "0 6 * * 1", "--overlap", "skip", "--tag", "weekly", "--working-dir", "below"]
    deploy("--pool", "keeping", *everything)
    async with get_client() as client:
        first = await client.read_deployment_by_name("run-plan/kept")
        await client.update_deployment(
            first.id, DeploymentUpdate(parameters={**first.parameters, "budget_usd": 2.0}, paused=True)
        )
        write(folder, "kept", "other words")
        told = deploy()
        second = await client.read_deployment_by_name("run-plan/kept")
        for line in (
            "renewed run-plan/kept; it runs in",
            "plan changed: 1 node (text)",
            "schedule kept: '0 6 * * 1' in UTC",
            "parameters kept: budget_usd",
            "paused, as before: `prefect deployment resume run-plan/kept`",
            "worker start --pool keeping",
        ):
            assert line in told
        kept = {"schedules", "tags", "paused", "work_pool_name", "pull_steps", "concurrency_options"}
        different = {"id", "created", "updated", "deployment_id"}
        assert second.model_dump(include=kept, exclude={"schedules": {"__all__": different}}) == {
            **first.model_dump(include=kept, exclude={"schedules": {"__all__": different}}),
            "paused": True,
        }
        assert second.parameters["budget_usd"] == 2.0
        told = deploy("--cron", "5 7 * * *", "--overlap", "allow")
        assert "plan unchanged" in told
        assert "schedule removed: '0 6 * * 1' in UTC" in told
        assert "overlap changed: skip -> allow" in told
        third = await client.read_deployment_by_name("run-plan/kept")
        assert [schedule.schedule.model_dump()["cron"] for schedule in third.schedules] == ["5 7 * * *"]
        assert third.global_concurrency_limit is None
        assert "schedule removed: '5 7 * * *' in UTC" in deploy("--no-cron")
        assert not (await client.read_deployment_by_name("run-plan/kept")).schedules


def test_nobody_takes_over_a_deployment_of_somebody_else(prefect_server: str, folder: Path) -> None:
    name = write(folder, "owned")
    assert call(folder, prefect_server, "deploy", name, "--pool", "owner", "--cron", "0 6 * * 1").returncode == 0
    assert call(folder, prefect_server, "blocks", "save", "owned-by-name", name).returncode == 0
    served = call(folder, prefect_server, "serve", name)
    stored = call(folder, prefect_server, "deploy", "owned-by-name")
    twice = call(folder, prefect_server, "serve", name, write(folder, "besides"), "--name", "one")
    assert (served.returncode, stored.returncode, twice.returncode) == (2, 2, 2)
    assert "run-plan/owned is deployed to the work pool 'owner'" in " ".join(served.stderr.split())
    assert "run-plan/owned runs the plan of a file, whose id is the same" in " ".join(stored.stderr.split())
    assert "--name 'one' is for one plan, and 2 are given" in twice.stderr
    meant = call(folder, prefect_server, "deploy", "owned-by-name", "--name", "owned")
    assert "schedule kept: '0 6 * * 1' in UTC" in meant.stdout


def test_a_served_plan_keeps_its_schedule_and_moves_to_workers_with_it(prefect_server: str, folder: Path) -> None:
    name = write(folder, "night")
    with process(folder, prefect_server, "serve", name, "--cron", "0 3 * * *", ready="serving;"):
        refused = call(folder, prefect_server, "deploy", name)
        assert refused.returncode == 2
        assert "run-plan/night is served by a process; end that first" in refused.stderr
    with process(folder, prefect_server, "serve", name, ready="serving;"):
        pass
    assert "schedule kept: '0 3 * * *' in UTC" in (folder / "serve.log").read_text()
    moved = call(folder, prefect_server, "deploy", name)
    assert "schedule kept: '0 3 * * *' in UTC" in moved.stdout
    assert "it was served by a process before, and is for workers from now on" in moved.stdout
    assert "paused" not in moved.stdout


WRONG = [
    (["plan.json", "--cron", "0 6 * * 1", "--no-cron"], "--cron and --no-cron say opposite things"),
    (["plan.json", "--cron", "at noon"], "--cron 'at noon' is not a schedule: expected minute, hour, day"),
    (["plan.json", "--cron", "0 0 30 2 *"], "--cron '0 0 30 2 *' never comes: there is no such date"),
    (["plan.json", "--name", "a/b"], "--name 'a/b' cannot be a name: it may not have / in it"),
    (["plan.json", "--pool", "Prefect-x"], "Prefect keeps those that begin with 'prefect'"),
    (["plan.json", "--working-dir", "{{ name }}"], "has '{{' in it, where Prefect fills in a value"),
    (["never-stored"], "no plan is stored as 'never-stored'"),
    (["plan.json", "--working-dir", "nowhere"], "--working-dir 'nowhere' is not a folder"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_cannot_be_deployed_is_refused(
    prefect_server: str, folder: Path, options: list[str], message: str
) -> None:
    write(folder, "plan")
    (folder / "{{ name }}").mkdir()
    refused = call(folder, prefect_server, "deploy", *options)
    assert refused.returncode == 2
    assert message in " ".join(refused.stderr.split())


def test_deployment_says_when_it_is_due_and_what_is_easily_misread(prefect_server: str, folder: Path) -> None:
    write(folder, "timed")
    said = call(folder, prefect_server, "deploy", "timed.json", "--cron", "*/45 * * * *", "--pool", "unusual pool ü")
    assert said.returncode == 0, said.stderr
    assert re.search(r"due      (\w{3} \d{4}-\d\d-\d\d \d\d:\d\d(, )?){3} \(UTC\)", said.stdout)
    assert "'*/45' is not every 45 minutes: each hour starts again, at minute 0, 45" in said.stderr


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
        assert f"a Prefect server runs at http://127.0.0.1:{port} already" in again.stderr
    finally:
        stop(server)


def test_a_server_cannot_start_where_something_else_listens(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = call(folder, "", "server", "start", "--port", str(port))
    assert refused.returncode == 3
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another --port" in refused.stderr


def test_a_wrong_address_of_the_server_is_told(prefect_server: str, folder: Path) -> None:
    name = write(folder, "plan")
    nobody = f"http://127.0.0.1:{free_port()}/api"
    refused = call(folder, nobody, "serve", name)
    assert refused.returncode == 3
    assert f"cannot reach the Prefect server at {nobody}" in refused.stderr
    refused = call(folder, prefect_server.removesuffix("/api"), "worker", "start")
    assert refused.returncode == 3
    assert "is not the API of a Prefect server, whose address ends with /api" in refused.stderr


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
