"""What is left when the process is killed at any moment, and that a resume goes on from just there."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from tests import crash_run
from tests.crash_run import KINDS
from tests.storm_size import storm_size
from vibe_prefect import CompiledNode, WorkflowNodeType, compile_plan
from vibe_prefect.run.items import unfold_known

pytestmark = [pytest.mark.server, pytest.mark.slow]

KILLS = 4
"""How many runs the ordinary suite kills."""

STORM = storm_size(60)
"""How many runs the storm kills."""

SIDE_BY_SIDE = 2

SMALL = ("chain", "hierarchical", "wide", "listed")
"""Plans whose records are small: a moment decides what was written."""

BOUND = 240.0
PAUSE = 0.02
"""Seconds at most from a node's work to the kill: what a node takes."""


@pytest.fixture(scope="module", autouse=True)
def runs_are_forked(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have one process import everything once, from which each run is forked: importing takes longer than running.

    It ends with this one.
    """
    wanted = {
        "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_CLIENT_MAX_RETRIES": "7",  # many runs at once keep the database busy, and the server says 503
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in wanted.items():
            patch.setenv(name, value)
        multiprocessing.set_forkserver_preload(["tests.crash_run"])
        forkserver.ensure_running()


@dataclass(frozen=True)
class Run:
    """A run in a process of its own."""

    process: ForkServerProcess
    begun: Connection

    def id(self) -> str:
        """Wait until the run has begun, and return its flow run's id."""
        assert self.begun.poll(BOUND), "the run did not begin"
        return self.begun.recv()

    def exit_code(self) -> int | None:
        """Wait until the process has ended."""
        self.process.join(BOUND)
        code = self.process.exitcode
        assert code is not None, "the run did not end"
        self.begun.close()
        self.process.close()
        return code


def start(kind: str, folder: Path, resume_from: str | None = None, file_limit: int | None = None) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    begun, sender = multiprocessing.Pipe(duplex=False)
    arguments = (kind, folder, sender, resume_from, file_limit)
    process = multiprocessing.get_context("forkserver").Process(target=crash_run.run, args=arguments)
    process.start()
    sender.close()
    return Run(process, begun)


def finish(kind: str, folder: Path, resume_from: str | None = None) -> str:
    """Run to the end; returns the run's id."""
    run = start(kind, folder, resume_from)
    id = run.id()
    assert run.exit_code() == 0
    return id


def kill_at(moment: random.Random, kind: str, folder: Path) -> str:
    """Kill a run shortly after a random number of its nodes did their work, however quick they are; returns its id."""
    run = start(kind, folder)
    id = run.id()
    count = moment.randrange(len(nodes_by_record(kind)))
    while run.process.exitcode is None and executed(folder).total() < count:
        run.process.join(0.001)
    run.process.join(moment.uniform(0, PAUSE))
    run.process.kill()
    run.exit_code()
    return id


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outputs of each plan's run that nobody disturbs."""
    outputs: dict[str, str] = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        finish(kind, folder)
        outputs[kind] = (folder / "outputs.json").read_text()
    return outputs


def nodes_by_record(kind: str) -> dict[str, str]:
    """The id of each node that does work by the name of its record."""
    compiled = compile_plan(KINDS[kind](), handled_types=list(WorkflowNodeType))
    nodes = asyncio.run(unfold_known(compiled, nothing)).compiled().nodes
    return {f"{id}-{node.key}": id for id, node in nodes.items() if node.node.for_each is None}


async def nothing(node: CompiledNode) -> None:
    """No node has an output before a run."""


def finished_nodes(kind: str, folder: Path, run: str) -> set[str]:
    """The nodes whose record was written."""
    names = nodes_by_record(kind)
    namespace = folder / "records" / run
    return {names[path.name] for path in namespace.iterdir() if path.name in names}


def executed(folder: Path) -> Counter[str]:
    """How often each node really did its work."""
    return Counter((folder / "log").read_text().split())


@dataclass(frozen=True)
class Killed:
    """A run that was killed, and the one that resumed it."""

    runs: tuple[str, str]
    """Their ids."""

    amid_work: bool
    """Whether some of its nodes had finished, and some had not."""


def assert_kill_is_harmless(undisturbed: dict[str, str], parent: Path, attempt: int) -> Killed:
    """Kill a run at a random moment and resume it."""
    kind, folder = SMALL[attempt % len(SMALL)], parent / str(attempt)
    run = kill_at(random.Random(attempt), kind, folder)
    finished = finished_nodes(kind, folder, run)
    before = executed(folder)
    assert finished <= before.keys(), "a record tells of work that was not done"

    resumed = finish(kind, folder, run)
    after = executed(folder)
    assert {id: after[id] - before[id] for id in finished} == dict.fromkeys(finished, 0), "finished work was repeated"
    assert all(after[id] - before[id] == 1 for id in after.keys() - finished), "unfinished work runs once"
    assert (folder / "outputs.json").read_text() == undisturbed[kind], "something was lost"

    return Killed((run, resumed), 0 < len(finished) < len(after))


def assert_kills_are_harmless(undisturbed: dict[str, str], folder: Path, count: int) -> list[Killed]:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        killed = list(pool.map(partial(assert_kill_is_harmless, undisturbed, folder), range(count)))
    assert sum(one.amid_work for one in killed) >= count / 4, "the moments are spread over the runs' work"
    return killed


def test_a_killed_run_loses_nothing_and_repeats_nothing(undisturbed: dict[str, str], tmp_path: Path) -> None:
    killed = assert_kills_are_harmless(undisturbed, tmp_path, KILLS)
    with get_client(sync_client=True) as client:
        for one in killed:
            states = [client.read_flow_run(UUID(id)).state for id in one.runs]
            types = [state.type.value for state in states if state]
            assert types in (["CRASHED", "COMPLETED"], ["COMPLETED", "COMPLETED"])


@pytest.mark.storm
def test_kill_storm_loses_nothing_and_repeats_nothing(undisturbed: dict[str, str], tmp_path: Path) -> None:
    assert_kills_are_harmless(undisturbed, tmp_path, STORM)  # what the server shows, it may be too busy to learn


@pytest.mark.parametrize("size", [1_000_000, 7_900_000])
def test_a_kill_in_the_middle_of_writing_a_record_leaves_none(
    size: int, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    killed = start("heavy", tmp_path, file_limit=size)
    run = killed.id()
    assert killed.exit_code() == -signal.SIGXFSZ
    (part,) = (tmp_path / "records" / run).glob(".n1-*")
    assert part.stat().st_size == size, "the process died while it wrote the record of n1"
    assert finished_nodes("heavy", tmp_path, run) == {"n0"}
    assert executed(tmp_path) == {"n0": 1, "n1": 1}

    finish("heavy", tmp_path, run)
    assert executed(tmp_path) == {"n0": 1, "n1": 2, "n2": 1}
    assert (tmp_path / "outputs.json").read_text() == undisturbed["heavy"]
