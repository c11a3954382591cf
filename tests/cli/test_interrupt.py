"""Ctrl-C and its relatives, where libraries are at work, and whatever the loop does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM, environment
from vibe_prefect.cli.process.interrupt import sure_interrupt

BOUND = 300.0
"""Seconds that a process may take altogether."""


def make_another_error() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("could not be read") from None


def swallow() -> None:
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("library", [make_another_error, swallow, lambda: signal.raise_signal(signal.SIGINT)])
def test_ctrl_c_gets_through_whatever_a_library_makes_of_it(library: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), sure_interrupt():
        library()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="mine"), sure_interrupt():
        raise ValueError("mine")


PRELUDE = """
import asyncio, os, signal, sys, threading, time
from vibe_prefect.cli.process.interrupt import InterruptedRunError, Interruptible

def ready():
    os.write(1, b"ready\\n")

def stopping(number):
    os.write(1, b"stopping\\n")

def run(work, give_up=lambda: None):
    try:
        asyncio.run(Interruptible(stopping, give_up).run(work))
    except InterruptedRunError as interrupted:
        sys.exit(interrupted.exit_code)
    print("completed")

async def wait():
    ready()
    await asyncio.sleep(600)

async def blocked():
    ready()
    time.sleep(600)

async def busy():
    ready()
    while True:
        pass

async def stubborn():
    ready()
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            continue

async def locked():
    with threading._active_limbo_lock:
        ready()
        time.sleep(600)

async def threaded():
    threading.Thread(target=time.sleep, args=[600]).start()
    ready()
    await asyncio.sleep(600)

async def three_seconds():
    ready()
    for _ in range(30):
        await asyncio.sleep(0.1)
"""


@contextmanager
def started(script: str, *ignored: signal.Signals) -> Generator[subprocess.Popen[str]]:
    """A process that has begun its work, with signals that are ignored from its start."""

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore,  # noqa: PLW1509 - no other thread of ours is at work
    )
    bound = threading.Timer(BOUND, process.kill)
    bound.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        bound.cancel()
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == line


@pytest.mark.parametrize("work", ["wait()", "threaded()"])
def test_first_signal_stops_what_can_be_stopped(work: str) -> None:
    with started(f"run({work})") as process:
        process.send_signal(signal.SIGTERM)
        wait_for(process, "stopping\n")
        assert process.wait(BOUND) == 128 + signal.SIGTERM


@pytest.mark.parametrize("work", ["blocked()", "busy()", "stubborn()", "locked()"])
def test_second_signal_ends_the_process_whatever_the_loop_does(work: str) -> None:
    with started(f"run({work})") as process:
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 128 + signal.SIGINT


def test_second_signal_ends_the_process_though_nobody_reads_its_last_words() -> None:
    with started("run(stubborn(), give_up=lambda: time.sleep(600))") as process:
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 128 + signal.SIGINT


def test_second_ctrl_c_ends_an_import_that_swallows_the_first() -> None:
    script = """
from vibe_prefect.cli.process.interrupt import sure_interrupt
with sure_interrupt():
    while True:
        try:
            ready()
            time.sleep(600)
        except KeyboardInterrupt:
            os.write(1, b"swallowed\\n")
"""
    with started(script) as process:
        process.send_signal(signal.SIGINT)
        wait_for(process, "swallowed\n")
        wait_for(process, "ready\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 128 + signal.SIGINT


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP])
def test_signal_that_is_ignored_at_the_start_stays_ignored(ignored: signal.Signals) -> None:
    with started("run(three_seconds())", ignored) as process:
        process.send_signal(ignored)
        assert process.communicate(timeout=BOUND)[0] == "completed\n"
        assert process.returncode == 0


def test_other_signals_work_while_one_is_ignored() -> None:
    with started("run(wait())", signal.SIGHUP) as process:
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping\n")
        assert process.wait(BOUND) == 128 + signal.SIGINT


IMPORT_THAT_SWALLOWS = """
import os, time
os.write(1, b"ready\\n")
try:
    time.sleep(600)
except BaseException:
    raise ImportError("something in the library") from None
"""


@pytest.mark.parametrize("module", ["cyclopts", "prefect"])
def test_ctrl_c_during_imports_ends_with_130_and_a_message(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(IMPORT_THAT_SWALLOWS)
    env = environment(tmp_path / "home", {"PYTHONPATH": str(tmp_path), "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    process = subprocess.Popen([PROGRAM, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    bound = threading.Timer(BOUND, process.kill)
    bound.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    bound.cancel()
    assert (process.returncode, errors) == (130, "vibe-prefect: interrupted\n")
