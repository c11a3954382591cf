"""A real Prefect server for as long as a test or a benchmark needs one."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vibe_prefect.engine.server.process import HOST, await_answer, server_process

START_BOUND = 300.0
"""Seconds that the server may take until it answers."""


@contextmanager
def running_server(home: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> Generator[str]:
    """Run a Prefect server on this machine.

    Args:
        home: Its `PREFECT_HOME`: database and log file go there.
        port: Its port; a free one by default.
        settings: Environment variables for it, beside those that keep it healthy.

    Yields:
        The address of its API, for `PREFECT_API_URL`.

    Raises:
        RuntimeError: It did not answer in time; the message ends with its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), **(settings or {})}
    api, log = f"http://{HOST}:{port}/api", home / "server.log"
    with server_process(port, environment, log) as process:
        if reason := await_answer(process, api, START_BOUND):
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the Prefect server {reason}; its log ends with:\n{tail}")
        yield api


@contextmanager
def used_server(home: Path, *, settings: Mapping[str, str] | None = None) -> Generator[str]:
    """Run a Prefect server and make this process its client; environment variables would come too late for that.

    Args:
        home: Folder for the files of the server, and of this process as its client.
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
    """Return a TCP port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
