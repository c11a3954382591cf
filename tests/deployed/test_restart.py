"""A Prefect server that is killed and started again in the middle of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.deployed.restart_run import NODES
from vibe_prefect.testing import free_port, running_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BOUND = 90.0
BEFORE = 12
"""Nodes that have finished when the server is killed."""


def start(folder: Path, api: str, *run: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "client")}
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.deployed.restart_run", str(folder), *run],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


def executed(folder: Path) -> Counter[str]:
    log = folder / "log"
    return Counter(log.read_text().split() if log.exists() else [])


def await_nodes(folder: Path, count: int, run: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + BOUND
    while executed(folder).total() < count:
        assert run.poll() is None, (folder / "run.log").read_text()
        assert time.monotonic() < end, f"{executed(folder).total()} nodes after {BOUND:g} s"
        time.sleep(0.05)


def kill_server(port: int) -> None:
    """Kill the server that this test started, with no time to say anything."""
    servers = [child for child in psutil.Process().children(recursive=True) if str(port) in child.cmdline()]
    assert servers
    for server in servers:
        for process in (*server.children(recursive=True), server):
            process.kill()


def test_a_run_survives_a_restart_of_its_server(tmp_path: Path) -> None:
    port = free_port()
    with running_server(tmp_path / "server", port=port) as api:
        run = start(tmp_path, api)
        await_nodes(tmp_path, BEFORE, run)
        kill_server(port)
    during = executed(tmp_path).total()
    assert during < NODES
    with running_server(tmp_path / "server", port=port):
        run.wait(BOUND)
    assert run.returncode == 0, (tmp_path / "run.log").read_text()
    assert (tmp_path / "status").read_text() == "completed"
    counts = executed(tmp_path)
    assert len(counts) == NODES
    assert set(counts.values()) == {1}, "a node was executed twice"
