"""A Prefect server that outlives the command: the configured one, the one of this machine, or one that is started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from vibe_prefect.cli.environment import API_VARIABLE, Server, configured_api_url, quieten
from vibe_prefect.cli.exits import PROGRAM, StartError, warn
from vibe_prefect.cli.home import check_home
from vibe_prefect.cli.loopback import answers, bypass_proxies
from vibe_prefect.engine.server_settings import SERVER_SETTINGS

HOST = "127.0.0.1"
PORT = 4200
UI_API = "PREFECT_UI_API_URL"
"""Where the UI in the browser finds the API. Prefect's default has port 4200 in it, whatever the server's own is."""

ORIGINS = ("PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS")
"""The variables that say from which origins a browser may ask a server."""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened at
"""What stands for all addresses of a machine."""

START_BOUND = 90.0
"""Seconds that a server may take until it answers; the first start makes the database."""

STOP_BOUND = 15.0
"""Seconds that it may take to end before it is killed."""


def standing_server() -> Server:
    """Return the Prefect server to talk to, and make Prefect use it.

    Raises:
        StartError: None is configured, and none answers on this machine.
    """
    found = _found()
    if found is None:
        raise StartError(
            f"no Prefect server: set {API_VARIABLE} to the address of yours, such as http://{HOST}:{PORT}/api, "
            f"or start one with '{PROGRAM} server start'"
        )
    return found


@contextmanager
def standing_or_started(starting: Callable[[], object]) -> Generator[Server]:
    """Yield the Prefect server to talk to; where there is none, one runs on this machine as long as the context.

    Args:
        starting: Called when one is being started, which takes some seconds.

    Raises:
        StartError: It does not start.
    """
    found = _found()
    if found is not None:
        yield found
        return
    starting()
    api_url = f"http://{HOST}:{PORT}/api"
    log = check_home(written=True) / "vibe-prefect-server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            server_command(HOST, PORT),
            env=server_environment(HOST, PORT),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: we end it when the last run has been told off
        )
    try:
        _await(process, api_url, log)
        yield _used_here(api_url)
    finally:
        _stop(process)


def server_command(host: str, port: int) -> list[str]:
    """Return the command that starts a Prefect server."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]


def server_environment(host: str, port: int) -> dict[str, str]:
    """Return this process's environment with the settings that keep a server healthy; what is set there stays.

    Args:
        host: The address that the server listens at.
        port: Its port.
    """
    added = {"DO_NOT_TRACK": "1", UI_API: "/api", **SERVER_SETTINGS}
    if not any(name in os.environ for name in ORIGINS):
        added[ORIGINS[0]] = ",".join(own_origins(host, port))
    return added | os.environ


def own_origins(host: str, port: int) -> list[str]:
    """Return the origins of a server's own pages: no page from elsewhere may ask it for anything in a browser."""
    hosts = [HOST, "localhost", *([] if host in (*EVERYWHERE, HOST, "localhost") else [host])]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}" for name in hosts]


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


def _await(process: subprocess.Popen[bytes], api_url: str, log: Path) -> None:
    end = time.monotonic() + START_BOUND
    while not answers(api_url):
        if process.poll() is not None:
            raise StartError(f"the Prefect server did not start; its log is {log}")
        if time.monotonic() > end:
            raise StartError(f"the Prefect server did not answer within {START_BOUND:g} s; its log is {log}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_BOUND)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
