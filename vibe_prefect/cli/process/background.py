"""The server in the background: the first command starts it, later ones find it, and it ends when nobody uses it.

Its record in Prefect's home is locked by it as long as it lives; each command that uses it holds the shared lock of
another file. So neither a killed server nor a killed command leaves anything behind that misleads.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from vibe_prefect.cli.exits import StartError
from vibe_prefect.cli.process.embedded import TIMEOUT_VARIABLE, last_words, start_program, startup_timeout
from vibe_prefect.cli.process.settings_files import MAX_FILE_BYTES, may_set_prefect, settings_files
from vibe_prefect.core.file_locks import open_lock, try_lock
from vibe_prefect.engine.server.launch import Launch
from vibe_prefect.engine.server.process import HOST, answers
from vibe_prefect.engine.server.record import (
    CLIENTS,
    LOG,
    RECORD,
    ServerRecord,
    clear_record,
    is_running,
    read_record,
    running_server_of,
    write_record,
)
from vibe_prefect.text.regular_files import read_regular

PORT = 4210
"""Port of the server in the background where it is free, so that its pages keep their address. Prefect's own, 4200, is
left for servers that people start."""

END_SECONDS = 20.0
"""Seconds that a server which is ending, or was asked to end, may take."""

POLL_SECONDS = 0.05
_UI = {"PREFECT_UI_API_URL": "/api"}
_SERVER_VARIABLES = (
    "PREFECT_SERVER_",
    "PREFECT_API_DATABASE_",
    "PREFECT_API_SERVICES_",
    "PREFECT_MESSAGING_",
    "PREFECT_PROFILE",
)
"""Beginnings of the names of variables that a server reads."""


class BackgroundServer:
    """The server of a home, as a command that uses it sees it. The use ends with the process, or with `leave`."""

    def __init__(self, home: Path, idle_seconds: float | None, *, port: int = PORT, choosy: bool = True) -> None:
        """Find the server of a home, or start one, which need not answer yet.

        Args:
            home: Prefect's home.
            idle_seconds: Seconds after its last use at which a started server ends; `None` for no end.
            port: Its port, where that is free.
            choosy: Whether a server that was started with other settings will not do.

        Raises:
            StartError: The server that is there does not end, or tells nobody its address.
            ServerInUseError: Other commands use a server that was started with other settings.
        """
        self._home = home
        self._idle_seconds = idle_seconds
        self._port = port
        self._choosy = choosy
        self._process: subprocess.Popen[bytes] | None = None
        self._client = self._joined()
        try:
            self.record = self._find_or_start()
        except BaseException:
            self.leave()
            raise

    @property
    def api_url(self) -> str:
        """Address of its API."""
        return self.record.api_url

    @property
    def description(self) -> str:
        """Where it comes from, in a few words."""
        return lifetime(self.record)

    @property
    def ended(self) -> str | None:
        """End of the server in words; `None` while it runs."""
        if running_server_of(self._home) == self.record:
            return None
        code = self._process.poll() if self._process is not None else None
        return f"was killed by signal {-code}" if code is not None and code < 0 else "has ended"

    def wait_ready(self) -> None:
        """Wait until it answers; where it ends meanwhile, as at the end of its time, another one is started.

        Raises:
            StartError: It ended, or did not answer in time.
        """
        seconds = startup_timeout()
        end = time.monotonic() + seconds
        while not answers(self.record.api_url):
            if self._process is not None and self._process.poll() is not None:
                raise StartError(f"Prefect's server did not start{self._last_words()}")
            if time.monotonic() > end:
                hint = f"set {TIMEOUT_VARIABLE} to wait longer"
                raise StartError(f"Prefect's server did not answer within {seconds:g} s ({hint}){self._last_words()}")
            if self._process is None and not is_running(self._home):
                self.record = self._find_or_start()
            time.sleep(POLL_SECONDS)

    def leave(self) -> None:
        """Use it no more."""
        os.close(self._client)
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # else Python warns that it still runs, as it is to

    def _joined(self) -> int:
        """Lock the file of the users; a server that is ending keeps it until it has ended."""
        number = open_lock(self._home / CLIENTS)
        end = time.monotonic() + END_SECONDS
        while not try_lock(number, shared=True):
            if time.monotonic() > end:
                os.close(number)
                raise StartError(f"the Prefect server in {str(self._home)!r} does not end: 'vibe-prefect server stop'")
            time.sleep(POLL_SECONDS)
        return number

    def _find_or_start(self) -> ServerRecord:
        fingerprint = fingerprint_of_settings()
        end = time.monotonic() + END_SECONDS
        while True:
            number = open_lock(self._home / RECORD)
            try:
                if try_lock(number):
                    return self._start(number, fingerprint)
            finally:
                os.close(number)
            record = running_server_of(self._home)  # not a killed server's, whose process id may be another's by now
            if record is not None:
                if record.idle_seconds is None or record.fingerprint == fingerprint or not self._choosy:
                    return record
                self._end_other(record)
            elif time.monotonic() > end:
                raise StartError(f"the Prefect server in {str(self._home)!r} has no address yet; try again")
            time.sleep(POLL_SECONDS)

    def _start(self, number: int, fingerprint: str) -> ServerRecord:
        """Start the server; it inherits the lock of the open record."""
        clear_record(number)
        with _free_socket(self._port) as listening, (self._home / LOG).open("wb") as log:
            port = int(listening.getsockname()[1])
            launch = Launch(listening.fileno(), number, self._idle_seconds)
            self._process = start_program(launch, port, log, subprocess.DEVNULL, _UI)
        record = ServerRecord(
            url=f"http://{HOST}:{port}",
            pid=self._process.pid,
            prefect=version("prefect"),
            fingerprint=fingerprint,
            idle_seconds=self._idle_seconds,
            started=time.time(),
        )
        write_record(number, record)
        return record

    def _end_other(self, record: ServerRecord) -> None:
        """End a server that was started with other settings, where no other command uses it.

        Raises:
            ServerInUseError: One does.
        """
        if not try_lock(self._client):
            fcntl.flock(self._client, fcntl.LOCK_SH)
            raise ServerInUseError
        end_server(self._home, record)
        fcntl.flock(self._client, fcntl.LOCK_SH)

    def _last_words(self) -> str:
        with suppress(OSError):
            return last_words((self._home / LOG).read_text(errors="replace"))
        return ""


class ServerInUseError(Exception):
    """Other commands use a server that was started with other settings."""


def lifetime(record: ServerRecord) -> str:
    """Return how long a server goes on, in a few words."""
    if record.idle_seconds is None:
        return "goes on until it is stopped"
    return f"in the background, ends {record.idle_seconds / 60:g} min after its last use"


def end_server(home: Path, record: ServerRecord) -> None:
    """End the server of a home, and wait until it has ended.

    Args:
        home: Prefect's home.
        record: The server's record; its process id is right as long as the record is locked.
    """
    with suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    end = time.monotonic() + END_SECONDS
    while running_server_of(home) == record or (is_running(home) and read_record(home) is None):
        if time.monotonic() > end:
            with suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def fingerprint_of_settings() -> str:
    """Return a hash of what a server is started with: versions, interpreter, and settings that it may read."""
    digest = hashlib.sha256(f"{version('prefect')} {version('vibe-prefect')} {sys.prefix}".encode())
    for name in sorted(name for name in os.environ if name.startswith(_SERVER_VARIABLES)):
        if name != TIMEOUT_VARIABLE:
            digest.update(f"\0{name}={os.environ[name]}".encode())
    for path in filter(may_set_prefect, settings_files()):
        digest.update(b"\0" + read_regular(path, MAX_FILE_BYTES))
    return digest.hexdigest()[:16]


def _free_socket(port: int) -> socket.socket:
    """Return a socket that listens at a port, or at a free one."""
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return socket.create_server((HOST, 0))
