"""`vibe-prefect watch`: a run in another process, seen from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Scheduled

from tests.cli.command import PROGRAM, TIMEOUT, call, environment
from tests.cli.elsewhere import gated_run, newest_gated, open_gates
from tests.cli.test_terminal import finish, spawn
from vibe_prefect.engine.flow import run_plan

pytestmark = pytest.mark.server


def watching(folder: Path, server: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "watch", *arguments],
        cwd=folder,
        env=environment(folder / "home", {"PREFECT_API_URL": server, "PYTHONUNBUFFERED": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in {lines}")


def test_a_run_is_followed_to_its_end_and_goes_on_when_ctrl_c_ends_the_watching(
    tmp_path: Path, prefect_server: str
) -> None:
    with gated_run(tmp_path, prefect_server) as run:
        name = newest_gated().name
        staying, leaving = (watching(tmp_path, prefect_server, name) for _ in range(2))
        read_until(leaving, "] start   n0")
        os.kill(leaving.pid, signal.SIGINT)
        _, errors = leaving.communicate(timeout=TIMEOUT)
        assert (leaving.returncode, errors) == (130, "vibe-prefect: no longer watching; the run goes on\n")
        first = read_until(staying, "] start   n0")
        open_gates(tmp_path, "n0", "n1", "n2")
        rest, errors = staying.communicate(timeout=TIMEOUT)
        assert run.wait(TIMEOUT) == 0
    assert first[:2] == ["gated  a test", "3 nodes in 3 groups"]
    assert first[2].startswith(f"run      {name}  (")
    assert re.search(r"^\[100 %\] done    n2 \(generate\) in ", rest, re.MULTILINE)
    assert re.search(r"^✓ Completed in .* - 3 nodes$", rest, re.MULTILINE)
    assert (staying.returncode, errors) == (0, "")


def test_a_failure_is_the_watchers_exit_code_too(tmp_path: Path, prefect_server: str) -> None:
    with gated_run(tmp_path, prefect_server):
        name = newest_gated().name
        process = watching(tmp_path, prefect_server, name)
        read_until(process, "] start   n0")
        open_gates(tmp_path, "n0", "n1.fails")
        rest, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "FAILED  n1 (generate) after" in rest
    assert "  n1: n1 was told to fail\n" in rest
    assert "skipped n2 (generate): Dependencies not satisfied: n1 failed" in rest
    assert f"  vibe-prefect resume {name}\n" in rest
    again = call("watch", name, cwd=tmp_path, extra={"PREFECT_API_URL": prefect_server})
    assert (again.code, again.err) == (1, "")
    assert "  n1: n1 was told to fail" in again.lines


def test_on_a_terminal_it_is_the_live_view(tmp_path: Path, prefect_server: str) -> None:
    with gated_run(tmp_path, prefect_server):
        child = spawn(tmp_path, prefect_server, "watch", newest_gated().name)
        child.expect(r"\d s of 5 s")
        child.expect(r"0 of 3 nodes  1 running  [\d.]+ s  about \d+ s left")
        open_gates(tmp_path, "n0", "n1", "n2")
        text = finish(child)
    assert child.exitstatus == 0
    assert re.search(r"node +work +status +time +expected", text)
    assert "quality" not in text, "nothing was judged"
    assert re.search(r"✓ n2 +generate +completed +\d\.\d\d s +5\.00 s", text)


def test_a_run_that_is_scheduled_is_waited_for(tmp_path: Path, prefect_server: str) -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(run_plan, parameters={"plan": "a-stored-plan"}, state=Scheduled())
        process = watching(tmp_path, prefect_server, str(run.id))
        lines = read_until(process, "to begin")
        client.set_flow_run_state(run.id, Cancelled(message="not today"), force=True)
        _, errors = process.communicate(timeout=TIMEOUT)
    assert lines in ([f"waiting for {run.name} to begin: it is {state}"] for state in ("Scheduled", "Late"))
    assert process.returncode == 2
    assert errors == (
        f"vibe-prefect: error: the run {run.name!r} has no plan among its parameters; it is Cancelled: not today\n"
    )


def test_an_unknown_run_is_told(tmp_path: Path, prefect_server: str) -> None:
    outcome = call("watch", "nobody", cwd=tmp_path, extra={"PREFECT_API_URL": prefect_server})
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "vibe-prefect: error: this Prefect server has no run of a plan named 'nobody'; "
        "'vibe-prefect runs' lists its runs\n"
    )
