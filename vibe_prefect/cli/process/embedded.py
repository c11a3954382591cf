"""Prefect's embedded server, in a process of its own.

Prefect would start one itself, but in our process group and on our standard error: Ctrl-C would reach it in the middle
of recording, and its tracebacks would reach the user. This one is started first, so that it comes up while we import
Prefect, and it ends with us even when we are killed: it reads a pipe whose other end only we hold.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO

from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.cli.exits import DEBUG_VARIABLE, StartError, debugging
from vibe_prefect.engine.server.launch import Launch
from vibe_prefect.engine.server.process import HOST, ORIGINS, await_answer, await_end, own_origins
from vibe_prefect.engine.server.settings import SERVER_SETTINGS
from vibe_prefect.errors import UsageError

TIMEOUT_VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
DEFAULT_TIMEOUT = 90.0
"""Seconds for the server to start; a first start creates the database, on a slow disk as well."""

STOP_SECONDS = 5.0

_FIXED = {"PREFECT__SERVER_FINAL": "1", "DO_NOT_TRACK": "1"}
_ERROR_LINE = re.compile(r"^[\w.]+(?:Error|Exception|Exit): .+$", re.MULTILINE)
_OF_THE_RUN = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
"""Variables of a server that ends with its command: nobody can look at a UI of it."""


class EmbeddedServer:
    """A Prefect server that lives as long as this object's owner."""

    def __init__(self) -> None:
        self._socket = socket.create_server((HOST, 0))
        self._port = int(self._socket.getsockname()[1])
        self._log: IO[bytes] | None = None if debugging() else tempfile.TemporaryFile()  # noqa: SIM115
        self._process = self._spawn()
        self._socket.close()

    @property
    def api_url(self) -> str:
        """Address of its API."""
        return f"http://{HOST}:{self._port}/api"

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: It ended, or did not answer in time.
        """
        reason = await_answer(self._process, self.api_url, startup_timeout())
        if reason is not None:
            hint = f" (set {TIMEOUT_VARIABLE} to wait longer)" if self.ended is None else ""
            raise StartError(f"Prefect's embedded server {reason}{hint}{self._last_words()}")

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await_end(self._process, STOP_SECONDS)
        if self._log is not None:
            self._log.close()

    @property
    def ended(self) -> str | None:
        """End of its process in words; `None` while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        launch = Launch(self._socket.fileno())
        return start_program(launch, self._port, self._log or sys.stderr.fileno(), subprocess.PIPE, _OF_THE_RUN)

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return last_words(self._log.read().decode(errors="replace"))


def start_program(
    launch: Launch,
    port: int,
    log: IO[bytes] | int,
    stdin: int,
    settings: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start the program of a server in a process and a session of its own.

    Args:
        launch: Its arguments.
        port: The port of its socket.
        log: The file for its output.
        stdin: Its standard input.
        settings: Variables for it, which replace those of the environment.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}  # it is the server
    arguments = json.dumps({name: value for name, value in asdict(launch).items() if value is not None})
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "vibe_prefect.engine.server.program", arguments],
        env={**SERVER_SETTINGS, **inherited, **_FIXED, **settings, ORIGINS[0]: ",".join(own_origins(HOST, port))},
        stdin=stdin,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[number for number in (launch.socket, launch.record) if number is not None],
        start_new_session=True,
    )


def last_words(log: str) -> str:
    """Return the last exception in a server's log, and a hint how to read more."""
    errors = _ERROR_LINE.findall(log)
    hint = f"; {DEBUG_VARIABLE}=1 shows its log"
    return (f": {one_line(errors[-1])}" if errors else "") + hint


def startup_timeout() -> float:
    """Return the number of seconds that the server may take to answer.

    Raises:
        UsageError: The variable that sets it does not hold such a number.
    """
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text or DEFAULT_TIMEOUT)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{TIMEOUT_VARIABLE}: expected a number of seconds, found {text!r}")
    return seconds
