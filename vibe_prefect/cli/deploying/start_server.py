"""`vibe-prefect server start`: a Prefect server with the settings that keep it healthy while plans run."""

from __future__ import annotations

import os
import socket
import sys
from ipaddress import ip_address

from rich.text import Text

from vibe_prefect.cli.display.console import flush, out
from vibe_prefect.cli.display.lines import columns
from vibe_prefect.cli.exits import StartError, warn
from vibe_prefect.engine.server.process import ORIGINS, answers, server_command, server_environment
from vibe_prefect.engine.server.settings import REASONS, SERVER_SETTINGS

AUTH_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
ORIGINS_REASON = "no page from elsewhere may ask it in a browser"


def start(host: str, port: int) -> int:
    """Print the settings and become the Prefect server.

    Raises:
        StartError: A Prefect server answers there already, or something else does.
    """
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if answers(f"{address}/api"):
        raise StartError(f"a Prefect server answers at {address} already; stop it, or choose another --port")
    _must_be_free(host, port)
    screen = out()
    environment = server_environment(host, port, os.environ)
    screen.say("settings of the server, beside Prefect's own:")
    rows = [_row(name, environment[name], REASONS[name]) for name in SERVER_SETTINGS]
    rows += [_row(name, environment[name], ORIGINS_REASON) for name in ORIGINS if name in environment]
    for line in columns(rows, None):
        screen.say(line)
    screen.say(f"runs and plans reach it with  PREFECT_API_URL={address}/api")
    if not _is_loopback(host):
        warn(
            f"{host} can be reached from other machines: whoever can reach it sees all runs and can start new ones, "
            f"unless {AUTH_VARIABLE} is set"
        )
    flush()
    os.execve(sys.executable, server_command(host, port), environment)  # noqa: S606


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _must_be_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise StartError(f"cannot listen at {host}:{port}: {reason}; choose another --port or --host") from error


def _row(name: str, value: str, reason: str) -> list[Text]:
    is_set = name in os.environ
    return [Text(f"  {name}={value}"), Text("as your environment says" if is_set else reason, "dim")]
