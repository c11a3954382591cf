"""Workers of Dask and Ray clusters killed at random moments: nothing is lost, and nothing finished runs twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.placements.cluster_tools import cluster_tools
from tests.engine.placements.clusters import needs
from tests.executors import run_id
from tests.plans import node, plan
from tests.storm_size import storm_size
from vibe_prefect import ExecutionResult, ExecutionStatus, ProgressEvent, WorkflowExecutor, WorkflowPlan

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm, pytest.mark.usefixtures("lost_connections")]

RUNS = storm_size(20)
SIDE_BY_SIDE = 4
"""Number of runs at once: the start of a worker takes longer than the work."""

WORK_SECONDS = 0.1

BOUND = 1_200.0
"""Seconds that all runs may take: they take two to six minutes."""

TRIES = 10
"""Number of times that a run is resumed; each attempt that is killed uses up a retry."""


Cluster = tuple[str | None, Callable[[], bool]]
"""Address of a cluster, and what says whether all its workers are there."""


@contextmanager
def dask_cluster() -> Generator[Cluster]:
    make: Any = import_module("distributed").LocalCluster
    with make(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=100) as cluster:
        yield cluster.scheduler_address, lambda: len(cluster.scheduler.workers) == 2


@contextmanager
def ray_cluster() -> Generator[Cluster]:
    ray: Any = import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield None, lambda: True  # a run uses the cluster that its process is connected to
    ray.shutdown()


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}


def layered(folder: Path) -> WorkflowPlan:
    """Two layers of two nodes, each of which notes its calls."""
    nodes = [
        node(
            f"{layer}{index}",
            needs=[f"a{other}" for other in range(2)] if layer == "b" else [],
            parameters={
                "tool": "note",
                "tool_inputs": {"folder": str(folder), "name": f"{layer}{index}", "seconds": WORK_SECONDS},
            },
            policy={"retries": 3, "retry_delay": 0.0},
        )
        for layer in "ab"
        for index in range(2)
    ]
    return plan(*nodes)


def calls(folder: Path) -> Counter[str]:
    """Return how often each node has begun."""
    return Counter(path.name.partition("-")[0] for path in folder.iterdir())


def workers(kind: str) -> list[psutil.Process]:
    """Return the processes of the cluster that work for runs, those that Dask's workers have started included."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "spawn_main" in command if kind == "dask" else command.startswith("ray::"):
                found.append(process)
    return [process for process in found if "Agent" not in process.name()]


async def kill_workers(
    kind: str, are_there: Callable[[], bool], root: Path, draw: random.Random, kills: list[int]
) -> None:
    """Kill a worker at a random moment after each few calls that have begun, while all are there.

    Dask gives up a worker whose process dies while it starts, and a cluster without workers ends no run.
    """
    while True:
        enough = len(list(root.glob("calls-*/*"))) + draw.randint(2, 6)
        while True:
            await asyncio.sleep(draw.uniform(0, WORK_SECONDS))
            if len(list(root.glob("calls-*/*"))) >= enough:
                break
        if are_there() and (victims := workers(kind)):
            victim = draw.choice(victims)
            with suppress(psutil.Error):
                victim.kill()
                kills.append(victim.pid)


async def run_to_end(kind: str, folder: Path) -> tuple[ExecutionResult, int]:
    """Run a plan whose workers are killed, resume it until it is complete, and return the result and the attempts."""
    finished: dict[str, int] = {}

    def note_finish(event: ProgressEvent) -> None:
        if event.event_type == "node_completed" and event.node_id is not None:
            finished.setdefault(event.node_id, calls(folder)[event.node_id])

    earlier: str | None = None
    attempts = 0
    for _ in range(TRIES):
        executor = WorkflowExecutor(note_finish, tool_registry=cluster_tools(), storage="records", run_on=kind)
        result = await executor.execute_plan(layered(folder), resume_from=earlier)
        earlier = run_id(executor)
        attempts += sum(
            len(found.provenance.attempts)
            for found in result.node_results.values()
            if found.provenance is not None and not found.reused
        )
        if result.status is ExecutionStatus.COMPLETED:
            assert calls(folder) == finished, "what had finished ran again"
            return result, attempts
    raise AssertionError(f"the run is not complete after {TRIES} tries")


@pytest.mark.parametrize("kind", ["dask", "ray"])
async def test_killed_workers_lose_nothing_and_repeat_nothing_that_has_finished(
    kind: str, prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(kind)
    kills: list[int] = []
    turns = asyncio.Semaphore(SIDE_BY_SIDE)

    async def run(index: int) -> None:
        noted = folder / f"calls-{index}"
        noted.mkdir()
        async with turns:
            result, attempts = await run_to_end(kind, noted)
        texts = {id: found.result["result"]["text"] for id, found in result.node_results.items()}
        assert texts == {id: id for id in result.node_results}
        assert sum(calls(noted).values()) <= attempts, "the cluster has made an attempt by itself"

    with CLUSTERS[kind]() as (address, are_there):
        settings = {kind: {"kind": kind, "address": address, "shares_files": True}}
        monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS", json.dumps(settings))
        killing = asyncio.ensure_future(kill_workers(kind, are_there, folder, random.Random(15), kills))
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*(run(index) for index in range(RUNS)))
        killing.cancel()
    assert len(kills) >= RUNS // 2
