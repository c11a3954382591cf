"""Prefect's embedded server, in a process of its own.

Prefect would start one itself, but in our process group and on our standard error: Ctrl-C would reach it in the middle
of recording, and its tracebacks would reach the user. This one is started first, so that it comes up while we import
Prefect, and it ends with us even when we are killed: it reads a pipe whose other end only we hold.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import IO

from vibe_prefect.cli.exits import DEBUG_VARIABLE, StartError, debugging
from vibe_prefect.cli.text import one_line
from vibe_prefect.engine.server_settings import SERVER_SETTINGS

TIMEOUT_VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
DEFAULT_TIMEOUT = 90.0
"""Seconds; a first start makes the database, on a slow disk as well."""

POLL_SECONDS = 0.05
STOP_SECONDS = 5.0

_ERROR_LINE = re.compile(r"^[\w.]+(?:Error|Exception|Exit): .+$", re.MULTILINE)
_FIXED = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_PROGRAM = """
import os, signal, socket, sys, threading

def follow():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=follow, daemon=True).start()
import uvicorn
config = uvicorn.Config(
    "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


class EmbeddedServer:
    """A Prefect server that lives as long as this object's owner."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._socket.getsockname()[1])
        self._log: IO[bytes] | None = None if debugging() else tempfile.TemporaryFile()  # noqa: SIM115
        self._process = self._spawn()
        self._socket.close()

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}/api"

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: It ended, or did not answer in time.
        """
        timeout = float(os.environ.get(TIMEOUT_VARIABLE) or DEFAULT_TIMEOUT)
        end = time.monotonic() + timeout
        while not self._answers():
            if self._process.poll() is not None:
                raise StartError(f"Prefect's embedded server did not start{self._last_words()}")
            if time.monotonic() > end:
                raise StartError(
                    f"Prefect's embedded server did not answer within {timeout:g} s "
                    f"(set {TIMEOUT_VARIABLE} to wait longer){self._last_words()}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        number = self._socket.fileno()
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _PROGRAM, str(number)],
            env={**SERVER_SETTINGS, **os.environ, **_FIXED},
            stdin=subprocess.PIPE,
            stdout=self._log or sys.stderr.fileno(),
            stderr=subprocess.STDOUT,
            pass_fds=[number],
            start_new_session=True,
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _last_words(self) -> str:
        """Return the last exception that it wrote of."""
        if self._log is None:
            return ""
        self._log.seek(0)
        errors = _ERROR_LINE.findall(self._log.read().decode(errors="replace"))
        hint = f"; {DEBUG_VARIABLE}=1 shows its log"
        return (f": {one_line(errors[-1])}" if errors else "") + hint
