"""A Prefect server that outlives the command: a configured server, the server of this machine, or a started one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from vibe_prefect.cli.exits import PROGRAM, StartError, warn
from vibe_prefect.cli.home import check_home
from vibe_prefect.cli.process.environment import API_VARIABLE, Server, configured_api_url, quieten
from vibe_prefect.cli.process.loopback import bypass_proxies
from vibe_prefect.engine.server.process import HOST, answers, await_answer, server_process

PORT = 4200
START_BOUND = 90.0
"""Seconds that a server may take until it answers; the first start makes the database."""


def standing_server() -> Server:
    """Return the running Prefect server, and make Prefect use it.

    Raises:
        StartError: No server is configured, and none answers on this machine.
    """
    server = _found()
    if server is None:
        raise StartError(
            f"no Prefect server: set {API_VARIABLE} to the address of yours, such as http://{HOST}:{PORT}/api, "
            f"or start one with '{PROGRAM} server start'"
        )
    return server


@contextmanager
def standing_or_started(starting: Callable[[], object]) -> Generator[Server]:
    """Yield the running Prefect server; where there is none, start a server on this machine for the context.

    Args:
        starting: Called when a server is being started, which takes some seconds.

    Raises:
        StartError: The server does not start.
    """
    server = _found()
    if server is not None:
        yield server
        return
    starting()
    api_url = f"http://{HOST}:{PORT}/api"
    log = check_home(written=True) / "vibe-prefect-server.log"
    with server_process(PORT, os.environ, log) as process:
        if reason := await_answer(process, api_url, START_BOUND):
            raise StartError(f"the Prefect server {reason}; its log is {log}")
        yield _used_here(api_url)


def _found() -> Server | None:
    configured = configured_api_url()
    if configured is not None:
        return _used(configured)
    local = f"http://{HOST}:{PORT}/api"
    return _used_here(local) if answers(local) else None


def _used_here(api_url: str) -> Server:
    bypass_proxies()
    return _used(api_url)


def _used(api_url: str) -> Server:
    check_home()
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault(API_VARIABLE, api_url)
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    quieten(warn)
    return Server(api_url, None)
