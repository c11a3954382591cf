"""A process that has imported the libraries, and forks for each command of the tests: most of its time is imports.

It imports nothing of Prefect, which reads its settings as it is imported, nor of the package's that does. So a command
begins as a new process with its own environment, folder and output, as from a shell, and ends as one.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from tests.paths import ROOT

PREPARED = (
    "cyclopts",
    "fsspec",
    "griffe",
    "httpx",
    "httpcore",
    "jinja2",
    "jsonschema",
    "markdown_it",
    "opentelemetry.propagate",
    "packaging.requirements",
    "pathspec",
    "pendulum",
    "prometheus_client",
    "pydantic.v1",
    "pydantic_settings",
    "rich.console",
    "rich.spinner",
    "ruamel.yaml",
    "websockets.asyncio.client",
    "yaml",
    "vibe_prefect.cli.app",
    "vibe_prefect.cli.commands.run",
    "vibe_prefect.cli.commands.runs",
    "vibe_prefect.cli.commands.show",
    "vibe_prefect.cli.display.documents",
)
"""Modules that the process imports. A library that is not there any more is left out."""

FORBIDDEN = ("prefect", "vibe_prefect.executor", "vibe_prefect.engine.flow", "vibe_prefect.settings.package")
"""Modules that each command has to import by itself."""

OF_THE_INTERPRETER = ("PYTHON", "LANG", "LC_")
"""Beginnings of the names of variables that Python reads when it starts."""

MAX_REQUEST = 200_000
"""Bytes of a command with its environment."""

_BEGUN = dict(os.environ)
"""Environment of the prepared process."""

_lock = threading.Lock()


def run_prepared(
    program: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str] | None:
    """Run a command in a fork of the prepared process; `None` where it needs a process of its own, or another runs.

    Args:
        program: Path of the command's program.
        arguments: Its arguments.
        folder: Its working folder.
        environment: All of its environment.
        seconds: How long it may take.

    Raises:
        TimeoutExpired: It took longer, and was killed.
    """
    differing = environment.items() ^ _BEGUN.items()
    request = json.dumps([program, list(arguments), str(folder), dict(environment)]).encode()
    if any(name.startswith(OF_THE_INTERPRETER) for name, _ in differing) or len(request) > MAX_REQUEST:
        return None
    if not _lock.acquire(blocking=False):
        return None
    try:
        return _run(_process(), request, [program, *arguments], seconds)
    finally:
        _lock.release()


def _run(
    connection: socket.socket, request: bytes, command: list[str], seconds: float
) -> subprocess.CompletedProcess[str]:
    reading, writing = zip(*(os.pipe() for _ in range(2)), strict=True)
    socket.send_fds(connection, [request], writing)
    for number in writing:
        os.close(number)
    with ThreadPoolExecutor(2) as readers:
        texts = [readers.submit(_read, number) for number in reading]
        process = int(connection.recv(100))
        if not select.select([connection], [], [], seconds)[0]:
            os.kill(process, signal.SIGKILL)
            connection.recv(100)
            raise subprocess.TimeoutExpired(command, seconds)
        code = int(connection.recv(100))
        out, err = (text.result(seconds) for text in texts)
    return subprocess.CompletedProcess(command, code, out, err)


def _read(number: int) -> str:
    with open(number, encoding="utf-8") as text:
        return text.read()


@cache
def _process() -> socket.socket:
    """Start the process; it ends when this one does, whose end of the connection is closed then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen(
        [sys.executable, "-m", "tests.cli.prepared", str(theirs.fileno())],
        cwd=ROOT,
        env=_BEGUN,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    ).returncode = 0  # nobody waits for it
    theirs.close()
    return ours


def serve(connection: socket.socket) -> bool:
    """Fork for each command.

    Returns:
        Whether this is the fork, which is to run the command; the process itself returns when nobody asks any more.
    """
    for name in PREPARED:
        with suppress(ModuleNotFoundError):
            import_module(name)
    assert threading.active_count() == 1, "a fork has the thread that made it alone"
    assert not [name for name in FORBIDDEN if name in sys.modules]
    gc.freeze()
    while True:
        request, numbers, _, _ = socket.recv_fds(connection, MAX_REQUEST, 2)
        if not request:
            return False
        process = os.fork()
        if process == 0:
            connection.close()
            _become(json.loads(request), numbers)
            return True
        for number in numbers:
            os.close(number)
        connection.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: tuple[str, list[str], str, dict[str, str]], numbers: list[int]) -> None:
    program, arguments, folder, environment = request
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, standard in zip(numbers, (1, 2), strict=True):
        os.dup2(number, standard)
        os.close(number)
    sys.argv = [program, *arguments]
    sys.path[0] = str(Path(program).parent)
    time.tzset()
    random.seed()  # names of runs are drawn at random


if __name__ == "__main__" and serve(socket.socket(fileno=int(sys.argv[1]))):
    from vibe_prefect.cli import main

    main()
