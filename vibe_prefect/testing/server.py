"""A real Prefect server for as long as a test or a benchmark needs one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vibe_prefect.engine.server_settings import SERVER_SETTINGS

START_BOUND = 300.0
"""Seconds that the server may take until it answers."""

STOP_BOUND = 15.0
"""Seconds that it may take to end before it is killed."""


@contextmanager
def running_server(home: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> Generator[str]:
    """Run a Prefect server on this machine.

    Args:
        home: Its `PREFECT_HOME`: database and log file go there.
        port: Its port; a free one by default.
        settings: Environment variables for it, beside `SERVER_SETTINGS`.

    Yields:
        The address of its API, for `PREFECT_API_URL`.

    Raises:
        RuntimeError: It did not answer in time; the message ends with its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {**SERVER_SETTINGS, "DO_NOT_TRACK": "1", "PREFECT_HOME": str(home)}
    environment |= {"PREFECT_UI_API_URL": "/api", **(settings or {})}  # its default names port 4200
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        api = f"http://127.0.0.1:{port}/api"
        _await_health(api, process, log)
        yield api
    finally:
        _stop(process)


@contextmanager
def used_server(home: Path, *, settings: Mapping[str, str] | None = None) -> Generator[str]:
    """Run a Prefect server that this process talks to: environment variables would come too late for that.

    Args:
        home: Where the server, and this process as its client, keep their files.
        settings: Environment variables for the server.

    Yields:
        The address of its API.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    with running_server(home / "server", settings=settings) as api:
        client: dict[Any, Any] = {
            PREFECT_API_URL: api,
            PREFECT_HOME: home / "client",
            PREFECT_LOGGING_TO_API_ENABLED: False,
        }
        with temporary_settings(client):
            yield api


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_health(api: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_BOUND
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=2):  # noqa: S310 - an http address
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the Prefect server did not answer within {START_BOUND:g} s; its log ends with:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_BOUND)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
