"""What is left when the process is killed at any moment, and that a resume goes on from just there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from tests.crash_run import FILE_LIMIT, KINDS
from vibe_prefect import WorkflowNodeType, compile_plan

pytestmark = [pytest.mark.server, pytest.mark.slow]

KILLS = int(os.environ.get("CRASH_KILLS", "30"))
"""How many processes are killed; `make crash-test` kills 100."""

SMALL = ("chain", "hierarchical", "wide")
"""Plans whose records are small: a moment decides what was written."""

ROOT = Path(__file__).parent.parent
BOUND = 60.0
LONGEST = 0.8
"""Seconds from a run's begin within which it is killed; most runs take longer."""


def start(kind: str, folder: Path, api: str, run: str | None = None, **settings: str) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash_run", kind, str(folder), *([run] if run else [])],
        cwd=ROOT,
        env={
            **os.environ,
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            **settings,
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 0
    return out.split()[0]


def kill_after(process: subprocess.Popen[str], seconds: float) -> str:
    """Kill a run so many seconds after it began; returns its id."""
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait(BOUND)
    process.stdout.close()
    return run


@pytest.fixture(scope="module")
def undisturbed(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outputs of each plan's run that nobody disturbs."""
    outputs: dict[str, str] = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        finish(start(kind, folder, prefect_server))
        outputs[kind] = (folder / "outputs.json").read_text()
    return outputs


def finished_nodes(kind: str, folder: Path, run: str) -> set[str]:
    """The nodes whose record was written."""
    compiled = compile_plan(KINDS[kind](), handled_types=list(WorkflowNodeType))
    names = {f"{id}-{node.key}": id for id, node in compiled.nodes.items()}
    lineage = folder / "records" / run
    return {names[path.name] for path in lineage.iterdir() if path.name in names}


def executed(folder: Path) -> Counter[str]:
    """How often each node really did its work."""
    return Counter((folder / "log").read_text().split())


@pytest.mark.parametrize("attempt", range(KILLS))
async def test_a_killed_run_loses_nothing_and_repeats_nothing(
    attempt: int, prefect_server: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    kind = SMALL[attempt % len(SMALL)]
    delay = random.Random(attempt).uniform(0, LONGEST)
    run = kill_after(start(kind, tmp_path, prefect_server), delay)
    finished = finished_nodes(kind, tmp_path, run)
    before = executed(tmp_path)
    assert finished <= before.keys(), "a record tells of work that was not done"

    resumed = finish(start(kind, tmp_path, prefect_server, run))
    after = executed(tmp_path)
    assert {id: after[id] - before[id] for id in finished} == dict.fromkeys(finished, 0), "finished work was repeated"
    assert all(after[id] - before[id] == 1 for id in after.keys() - finished), "unfinished work runs once"
    assert (tmp_path / "outputs.json").read_text() == undisturbed[kind]

    async with get_client() as client:
        states = [(await client.read_flow_run(UUID(id))).state for id in (run, resumed)]
    assert [state.type.value for state in states if state] in (["CRASHED", "COMPLETED"], ["COMPLETED", "COMPLETED"])


@pytest.mark.parametrize("size", [1_000_000, 7_900_000])
async def test_a_kill_in_the_middle_of_writing_a_record_leaves_none(
    size: int, prefect_server: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    killed = start("heavy", tmp_path, prefect_server, **{FILE_LIMIT: str(size)})
    run, _ = killed.communicate(timeout=BOUND)
    assert killed.returncode == -signal.SIGXFSZ
    run = run.strip()
    (part,) = (tmp_path / "records" / run).glob(".n1-*")
    assert part.stat().st_size == size, "the process died while it wrote the record of n1"
    assert finished_nodes("heavy", tmp_path, run) == {"n0"}
    assert executed(tmp_path) == {"n0": 1, "n1": 1}

    finish(start("heavy", tmp_path, prefect_server, run))
    assert executed(tmp_path) == {"n0": 1, "n1": 2, "n2": 1}
    assert (tmp_path / "outputs.json").read_text() == undisturbed["heavy"]
