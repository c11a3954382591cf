"""A run in a process of its own, for commands that look at it from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun

from tests.cli.command import environment
from tests.paths import ROOT

BOUND = 180.0


@contextmanager
def gated_run(folder: Path, server: str, nodes: int = 3, home: str = "home") -> Generator[subprocess.Popen[bytes]]:
    """Run a chain of nodes that each wait for their file; see `gated_run.py`."""
    known = {run.id for run in _gated_runs()}
    env = environment(folder / home, {"PREFECT_API_URL": server, "PYTHONPATH": str(ROOT)})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.gated_run", str(folder), str(nodes)],
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + BOUND
        while not any(run.id not in known and run.state_name == "Running" for run in _gated_runs()):
            assert time.monotonic() < end, "the run did not begin"
            assert process.poll() is None, "the run's process ended"
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait(BOUND)


def newest_gated() -> FlowRun:
    """Return the run that was started last."""
    return _gated_runs()[0]


def open_gates(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def _gated_runs() -> list[FlowRun]:
    named = FlowRunFilter(name=FlowRunFilterName(like_="gated-"))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=named, limit=200)
    return sorted(found, key=_created, reverse=True)


def _created(run: FlowRun) -> datetime:
    assert run.created is not None
    return run.created
