"""A storm of faults: signals, and servers that fail in every way, each at a random moment of a real run.

Whatever happens, nothing that had finished is lost or executed again, the process ends soon and says how to go on.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import subprocess
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.cli.command import PROGRAM, environment, install_tools, node, write_plan
from tests.faulty_server import FaultyServer
from vibe_prefect.testing import free_port, running_server

pytestmark = [pytest.mark.server, pytest.mark.storm]

TOOLS = """
import asyncio, os
from vibe_prefect import tool

@tool(version="1")
async def works(id: str, log: str) -> dict[str, str]:
    await asyncio.sleep(0.4)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{id}\\n".encode())
    os.close(file)
    return {"text": id}
"""
STORAGE = "PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE"

NODES = 48
"""Of a plan of four chains: some five seconds of work, during which a fault begins."""

BOUND = 180.0
"""Seconds for a run to begin and to come to its fault, on a busy machine."""

MINUTE = 60.0
"""Seconds in which a process ends after its fault is over, or after its last node."""

LASTING = 10.0
"""Seconds until a fault that is not for good is over."""

SIDE_BY_SIDE = 5
SCREEN = 24
"""Lines that all messages together may take."""

WIDEST = 700
"""Characters of a line."""

UNREPORTED = "every node has ended, but Prefect could not be told so"


@dataclass
class Victim:
    """A run that a fault is put on."""

    folder: Path
    process: subprocess.Popen[bytes]
    server: FaultyServer
    terminal: int | None = None
    """Its terminal, where it has one."""

    @property
    def executed(self) -> Counter[str]:
        log = self.folder / "log"
        return Counter(log.read_text().split() if log.exists() else [])

    @property
    def recorded(self) -> set[str]:
        """The nodes whose record was written."""
        found = (re.match(r"(n\d+)-[0-9a-f]{64}$", path.name) for path in (self.folder / "records").rglob("n*-*"))
        return {match[1] for match in found if match}

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")

    def await_nodes(self, count: int) -> None:
        end = time.monotonic() + BOUND
        while self.executed.total() < count:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, f"{self.executed.total()} nodes after {BOUND:g} s\n{self.said}"
            time.sleep(0.02)


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    name: str
    strike: Callable[[Victim], object]
    """Puts the fault on the run, and returns when it is over or there for good."""

    code: int = 0
    """The exit code of the run."""

    words: Sequence[str] = ()
    """What the run says."""

    on_terminal: bool = False


def stop_and_continue(victim: Victim) -> None:
    victim.process.send_signal(signal.SIGSTOP)
    time.sleep(40)  # the time is what is tested
    victim.process.send_signal(signal.SIGCONT)


def close_terminal(victim: Victim) -> None:
    """Hang up: the system sends SIGHUP when the last one at a terminal's other end has gone."""
    assert victim.terminal is not None
    os.close(victim.terminal)


def sent(number: signal.Signals) -> Callable[[Victim], object]:
    return lambda victim: victim.process.send_signal(number)


def for_good(strike: Callable[[FaultyServer], object]) -> Callable[[Victim], object]:
    return lambda victim: strike(victim.server)


def for_a_while(strike: Callable[[FaultyServer], object]) -> Callable[[Victim], object]:
    def begin_and_end(victim: Victim) -> None:
        strike(victim.server)
        time.sleep(LASTING)  # the time is what is tested
        victim.server.heal()

    return begin_and_end


def failing(status: int, header: str = "") -> Callable[[FaultyServer], object]:
    return lambda server: server.fail(status, header)


BACK_LATER = "did not answer, or answered to come back later"
FAULTS = [
    Fault("stopped for 40 s", stop_and_continue),
    *(
        Fault(f"signal {number.name}", sent(number), 128 + number, ("interrupted; ", "what they made is kept"))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ),
    Fault("terminal closed", close_terminal, 128 + signal.SIGHUP, on_terminal=True),
    Fault("server gone for good", for_good(FaultyServer.vanish), words=(UNREPORTED, BACK_LATER)),
    Fault("500 for good", for_good(failing(500)), words=(UNREPORTED, "failed (500 for ")),
    Fault("503 for good", for_good(failing(503, "Retry-After: 1")), words=(UNREPORTED, "failed (503 for ")),
    Fault("429 for good", for_good(failing(429, "Retry-After: 30")), words=(UNREPORTED, BACK_LATER)),
    Fault("401 for good", for_good(failing(401)), words=(UNREPORTED, "wants a login (401 for ")),
    Fault("dropped for good", for_good(FaultyServer.drop), words=(UNREPORTED, BACK_LATER)),
    Fault("silent for good", for_good(lambda server: server.slow(600)), words=(UNREPORTED, BACK_LATER)),
    Fault("500 for a while", for_a_while(failing(500))),
    Fault("503 for a while", for_a_while(failing(503, "Retry-After: 1"))),
    Fault("429 for a while", for_a_while(failing(429, "Retry-After: 1"))),
    Fault("401 for a while", for_a_while(failing(401))),
    Fault("dropped for a while", for_a_while(FaultyServer.drop)),
    Fault("slow for a while", for_a_while(lambda server: server.slow(3))),
]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install_tools(tmp_path_factory.mktemp("site"), "working", TOOLS, ["works"])


def write_chains(folder: Path) -> str:
    log = str(folder / "log")
    nodes = [
        node(
            f"n{index}",
            dependencies=[f"n{index - 4}"] if index >= 4 else [],
            parameters={"tool": "works", "tool_inputs": {"id": f"n{index}", "log": log}},
        )
        for index in range(NODES)
    ]
    return write_plan(folder, nodes, "chains")


def command(victim: Path, api: str, tools: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line; what it says goes to a file."""
    with (victim / "said").open("wb") as said:
        return subprocess.Popen(
            [PROGRAM, *arguments, "--quiet"],
            cwd=victim,
            env=environment(victim / "home", {"PREFECT_API_URL": api, **tools, STORAGE: str(victim / "records")}),
            stdout=said,
            stderr=said,
            preexec_fn=heed_signals,  # noqa: PLW1509 - calls of the system alone
        )


def heed_signals() -> None:
    """Have a process react to the signals that this one may have been started to ignore, as by `nohup`."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def take_terminal() -> None:
    """Make a process the one that its terminal belongs to."""
    heed_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def command_on_terminal(
    victim: Path, api: str, tools: dict[str, str], plan: str
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the command line on a terminal of its own; returns the process, and the terminal's other end."""
    ours, its = os.openpty()
    (victim / "said").touch()
    process = subprocess.Popen(
        [PROGRAM, "run", plan],
        cwd=victim,
        env=environment(victim / "home", {"PREFECT_API_URL": api, **tools, STORAGE: str(victim / "records")}),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - likewise
    )
    os.close(its)
    threading.Thread(target=read_all, args=[ours], daemon=True).start()
    return process, ours


def read_all(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass


@contextmanager
def running(folder: Path, server: FaultyServer, tools: dict[str, str], *, on_terminal: bool) -> Generator[Victim]:
    folder.mkdir()
    plan = write_chains(folder)
    if on_terminal:
        process, terminal = command_on_terminal(folder, server.api_url, tools, plan)
        victim = Victim(folder, process, server, terminal)
    else:
        victim = Victim(folder, command(folder, server.api_url, tools, "run", plan), server)
    try:
        yield victim
    finally:
        victim.process.kill()
        victim.process.wait()


def assert_ends_well(victim: Victim, fault: Fault, struck: float) -> None:
    """Assert that a process ends within a minute after its fault or its last node, and says what has to be said."""
    last = struck
    count = victim.executed.total()
    while victim.process.poll() is None:
        if victim.executed.total() > count:
            count, last = victim.executed.total(), time.monotonic()
        assert time.monotonic() < last + MINUTE, f"{fault.name}: still there a minute later\n{victim.said}"
        time.sleep(0.05)
    said = victim.said
    assert victim.process.returncode == fault.code, f"{fault.name}\n{said}"
    for words in fault.words:
        assert words in said, f"{fault.name}\n{said}"
    for foreign in ("Traceback", "Error logging", "developer.mozilla.org", "unexpected "):
        assert foreign not in said, f"{fault.name}\n{said}"
    lines = said.splitlines()
    assert len(lines) <= SCREEN, f"{fault.name}\n{said}"
    assert max(map(len, lines), default=0) <= WIDEST, f"{fault.name}\n{said}"


def assert_resumes(victim: Victim, api: str, tools: dict[str, str], fault: Fault) -> None:
    """Assert that every node is executed once, by a resume where the run did not get so far."""
    finished, before = victim.recorded, victim.executed
    assert finished <= before.keys(), f"{fault.name}: a record tells of work that was not done"
    assert set(before.values()) == {1}, f"{fault.name}: {before}"
    if fault.code != 0 or UNREPORTED in victim.said:
        (run,) = (path.name for path in (victim.folder / "records").iterdir() if path.is_dir())
        assert fault.on_terminal or re.search(r"vibe-prefect resume chains-[\w-]+", victim.said), victim.said
        resumed = command(victim.folder, api, tools, "resume", run)
        assert resumed.wait(BOUND) == 0, f"{fault.name}\n{victim.said}"
    after = victim.executed
    assert all(after[id] == 1 for id in finished), f"{fault.name}: finished work was repeated"
    assert len(after) == NODES, f"{fault.name}: something was lost"
    assert victim.recorded == after.keys()


def put_on_a_run(numbered: tuple[int, Fault], api: str, tools: dict[str, str], parent: Path) -> str | None:
    """Put a fault on a run at a moment that its number decides; returns what went wrong."""
    number, fault = numbered
    moment = random.Random(number).randrange(2, NODES * 2 // 3)
    with (
        FaultyServer(api).running() as server,
        running(parent / str(number), server, tools, on_terminal=fault.on_terminal) as victim,
    ):
        try:
            victim.await_nodes(moment)
            fault.strike(victim)
            assert_ends_well(victim, fault, time.monotonic())
            assert_resumes(victim, api, tools, fault)
        except AssertionError as error:
            return f"{fault.name}, after {moment} nodes: {error}"
    return None


def test_fault_storm_loses_nothing_repeats_nothing_and_always_ends(
    prefect_server: str, tools: dict[str, str], tmp_path: Path
) -> None:
    strike = partial(put_on_a_run, api=prefect_server, tools=tools, parent=tmp_path)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        problems = [problem for problem in pool.map(strike, enumerate(FAULTS)) if problem]
    assert not problems, "\n\n".join(problems)


def end_server(port: int, number: signal.Signals) -> None:
    """Send a signal to the server that this test started, and to the processes that it started, and wait."""
    servers = [child for child in psutil.Process().children(recursive=True) if str(port) in child.cmdline()]
    assert servers
    ended = [process for server in servers for process in (*server.children(recursive=True), server)]
    for process in ended:
        process.send_signal(number)
    psutil.wait_procs(ended, BOUND)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_run_survives_a_restart_of_its_server(number: signal.Signals, tools: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    fault = Fault(f"server restarted after {number.name}", lambda victim: end_server(port, number))
    with (
        running_server(tmp_path / "server", port=port) as api,
        FaultyServer(api).running() as way,
        running(tmp_path / "run", way, tools, on_terminal=False) as victim,
    ):
        victim.await_nodes(NODES // 4)
        fault.strike(victim)
        with running_server(tmp_path / "server", port=port):
            assert_ends_well(victim, fault, time.monotonic())
            assert_resumes(victim, api, tools, fault)
