"""What the tests ask of the server, and the processes that they start: polled with a bound."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from tests.cli.prepared import run_prepared

BOUND = 180.0
"""Seconds that anything may take: far more than it needs, since other tests keep the machine busy."""

PROGRAM = str(Path(sys.executable).with_name("vibe-prefect"))
T = TypeVar("T")


def environment(api: str, folder: Path, **extra: str) -> dict[str, str]:
    # A log level of this process's would hide what the processes tell.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}
    return {**kept, "PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "home"), "DO_NOT_TRACK": "1", **extra}


@contextmanager
def process(folder: Path, api: str, *arguments: str, ready: str, **extra: str) -> Generator[subprocess.Popen[bytes]]:
    """Run the command line in a folder, from the moment that its log holds a text until a signal ends it."""
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=folder,
            env=environment(api, folder, **extra),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + BOUND
        while ready not in log.read_text(errors="replace"):
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield started
    finally:
        stop(started)


@contextmanager
def ignored_hang_ups() -> Generator[None]:
    """Ignore a terminal that hangs up, as `nohup` does for the processes that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def stop(started: subprocess.Popen[bytes]) -> None:
    if started.poll() is None:
        started.send_signal(signal.SIGINT)
    try:
        started.wait(BOUND)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
        raise


def call(folder: Path, api: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    env = environment(api, folder, **extra)
    return run_prepared(PROGRAM, arguments, folder, env, BOUND) or subprocess.run(
        [PROGRAM, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=BOUND, check=False
    )


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """What a look at the server finds, once it finds something."""
    end = time.monotonic() + BOUND
    while (found := await look()) is None:
        assert time.monotonic() < end, f"{what}: not within {BOUND:g} s"
        await asyncio.sleep(0.1)
    return found


def until_now(look: Callable[[], T | None], what: str) -> T:
    """The same where nothing is awaited."""
    end = time.monotonic() + BOUND
    while (found := look()) is None:
        assert time.monotonic() < end, f"{what}: not within {BOUND:g} s"
        time.sleep(0.1)
    return found


async def deployment_id(client: PrefectClient, name: str) -> UUID:
    async def look() -> UUID | None:
        try:
            return (await client.read_deployment_by_name(f"run-plan/{name}")).id
        except ObjectNotFound:
            return None

    return await until(look, f"the deployment {name}")


async def trigger(client: PrefectClient, name: str, **parameters: Any) -> UUID:
    deployment = await deployment_id(client, name)
    return (await client.create_flow_run_from_deployment(deployment, parameters=parameters)).id


async def in_state(client: PrefectClient, run: UUID, *names: str) -> FlowRun:
    """The flow run, once its state has one of the names."""

    async def look() -> FlowRun | None:
        found = await client.read_flow_run(run)
        return found if found.state_name in names else None

    return await until(look, f"run {run} in {names}")


async def ended(client: PrefectClient, run: UUID) -> FlowRun:
    async def look() -> FlowRun | None:
        found = await client.read_flow_run(run)
        return found if found.state is not None and found.state.is_final() else None

    return await until(look, f"the end of {run}")


async def task_runs(client: PrefectClient, run: UUID) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        body = {
            "flow_runs": {"id": {"any_": [str(run)]}},
            "limit": 200,
            "offset": len(found),
            "sort": "EXPECTED_START_TIME_ASC",
        }
        page: list[dict[str, Any]] = (await client.request("POST", "/task_runs/filter", json=body)).json()
        found += page
        if len(page) < 200:
            return found


async def node_states(client: PrefectClient, run: UUID, count: int) -> Counter[str]:
    """How many of the run's task runs ended in which state, once there are so many, all of them over."""

    async def look() -> Counter[str] | None:
        runs = await task_runs(client, run)
        over = all(task["state_type"] not in ("PENDING", "RUNNING") for task in runs)
        return Counter(task["state_name"] for task in runs) if over and len(runs) == count else None

    return await until(look, f"{count} task runs of {run}")


def assert_runs_alone_by_the_clock(deployment: DeploymentResponse, cron: str) -> None:
    """Assert that a deployment has that one schedule, in Berlin's time, and leaves out a run while another goes on."""
    (schedule,) = deployment.schedules
    assert schedule.active
    expected = {"cron": cron, "timezone": "Europe/Berlin"}
    assert schedule.schedule.model_dump(include={"cron", "timezone"}) == expected
    assert deployment.global_concurrency_limit is not None
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options is not None
    assert deployment.concurrency_options.collision_strategy == "CANCEL_NEW"
