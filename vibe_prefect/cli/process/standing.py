"""A Prefect server that outlives the command: a configured server, or a server of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable

from vibe_prefect.cli.exits import PROGRAM, StartError, warn
from vibe_prefect.cli.home import check_home
from vibe_prefect.cli.process.background import BackgroundServer
from vibe_prefect.cli.process.environment import (
    API_VARIABLE,
    LOCAL_API,
    Server,
    configured_api_url,
    quieten,
    server_minutes,
    use_api,
)
from vibe_prefect.cli.process.loopback import bypass_proxies
from vibe_prefect.engine.server.process import answers
from vibe_prefect.engine.server.record import is_running


def standing_server() -> Server:
    """Return the running Prefect server, and make Prefect use it.

    Raises:
        StartError: No server is configured, and none answers on this machine.
    """
    server = _found()
    if server is None:
        raise StartError(
            f"no Prefect server: set {API_VARIABLE} to the address of yours, such as {LOCAL_API}, "
            f"or start one with '{PROGRAM} server start'"
        )
    return server


def standing_or_started(starting: Callable[[], object]) -> Server:
    """Return the running Prefect server; where there is none, start the server in the background.

    Args:
        starting: Called when a server is being started, which takes some seconds.

    Raises:
        StartError: The server does not start.
    """
    server = _found()
    if server is not None:
        return server
    starting()
    return _joined()


def _found() -> Server | None:
    configured = configured_api_url()
    if configured is not None:
        return _used(Server(configured, "as the settings say"))
    bypass_proxies()
    if is_running(check_home()):
        return _joined()
    return _used(Server(LOCAL_API, "found on this machine")) if answers(LOCAL_API) else None


def _joined() -> Server:
    background = BackgroundServer(check_home(written=True), server_minutes() * 60, choosy=False)
    background.wait_ready()
    return _used(Server(background.api_url, background.description, background=background))


def _used(server: Server) -> Server:
    check_home()
    os.environ.setdefault("DO_NOT_TRACK", "1")
    use_api(os.environ.get(API_VARIABLE, server.api_url))
    quieten(warn)
    return server
