"""`vibe-prefect server`: a Prefect server of this machine, with settings that keep it healthy while plans run."""

from __future__ import annotations

import os
import socket
import sys
import time
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path

from rich.text import Text

from vibe_prefect.cli.display.console import flush, out
from vibe_prefect.cli.display.lines import columns
from vibe_prefect.cli.exits import PROGRAM, ExitCode, StartError, warn
from vibe_prefect.cli.home import check_home
from vibe_prefect.cli.process.background import BackgroundServer, end_server, lifetime
from vibe_prefect.cli.process.environment import LOCAL_API, configured_api_url, server_by_hand
from vibe_prefect.cli.process.loopback import bypass_proxies
from vibe_prefect.core.file_locks import open_lock, try_lock
from vibe_prefect.engine.server.process import EVERYWHERE, HOST, ORIGINS, answers, server_command, server_environment
from vibe_prefect.engine.server.record import LOG, RECORD, ServerRecord, is_used, running_server_of, write_record
from vibe_prefect.engine.server.settings import REASONS, SERVER_SETTINGS
from vibe_prefect.errors import UsageError

STARTING = "starting a Prefect server (some seconds; more the first time) ..."
AUTH_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
ORIGINS_REASON = "no page from elsewhere may ask it in a browser"


def start(host: str, port: int) -> int:
    """Print the settings and become the Prefect server, which commands with the same Prefect home find.

    Raises:
        StartError: A Prefect server answers there already, or something else does; or commands use another server of
            this home.
    """
    home = check_home(written=True)
    _make_way(home)
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
    _record(home, f"http://{_reachable(host)}:{port}")
    os.execve(sys.executable, server_command(host, port), environment)  # noqa: S606


def start_in_background(host: str, port: int) -> int:
    """Start the server in the background, where it goes on until it is stopped.

    Raises:
        StartError: It does not start, or there is a server already that is started to stay or used by commands.
        UsageError: Other machines could reach it.
    """
    if not _is_loopback(host):
        raise UsageError(f"--background is for this machine alone, and {host} can be reached from others; leave it out")
    home = check_home(written=True)
    _make_way(home)
    _must_be_free(HOST, port)
    bypass_proxies()
    out().say(STARTING)
    server = BackgroundServer(home, None, port=port)
    server.wait_ready()
    _say(server.record)
    return ExitCode.COMPLETED


def stop(*, force: bool) -> int:
    """Stop the server of this home.

    Args:
        force: Whether commands may lose the server that they use.

    Raises:
        UsageError: Commands use it.
    """
    home = check_home()
    record = running_server_of(home)
    if record is None:
        out().say(f"no Prefect server to stop in {home}")
        return ExitCode.COMPLETED
    if is_used(home) and not force:
        raise UsageError(f"a command uses the Prefect server at {record.url}: wait for its end, or add --force")
    end_server(home, record)
    out().say(f"stopped the Prefect server at {record.url}")
    return ExitCode.COMPLETED


def status() -> int:
    """Print which server commands would use, and how long it goes on; exit code 1 where none runs."""
    configured = configured_api_url()
    if configured is not None:
        out().say(f"{configured}  (as the settings say)")
        return ExitCode.COMPLETED
    home = check_home()
    record = running_server_of(home)
    if record is not None:
        _say(record)
        log = f"; log  {home / LOG}" if record.fingerprint else ""  # one in a terminal writes there
        out().say(f"  {'used by a command' if is_used(home) else 'no command uses it'}{log}", "dim")
        return ExitCode.COMPLETED
    if server_by_hand(home) is not None:
        out().say(f"{LOCAL_API.removesuffix('/api')}  (found on this machine)")
        return ExitCode.COMPLETED
    out().say(f"no Prefect server runs for {home}; 'run' starts one, and so does '{PROGRAM} server start'")
    return ExitCode.FAILED


def _say(record: ServerRecord) -> None:
    out().say(f"{record.url}  ({lifetime(record)}; Prefect {record.prefect}, process {record.pid})")


def _make_way(home: Path) -> None:
    """End the server that goes on in the background after a run, where no command uses it.

    Raises:
        StartError: One does, or the server was started to stay.
    """
    record = running_server_of(home)
    if record is None:
        return
    if record.idle_seconds is None:
        raise StartError(f"a Prefect server runs at {record.url} already; '{PROGRAM} server stop' ends it")
    if is_used(home):
        raise StartError(f"a command uses the Prefect server at {record.url}: wait for its end")
    end_server(home, record)


def _record(home: Path, url: str) -> None:
    """Write the record of this process, which becomes the server: it keeps the open file, and so the lock.

    Raises:
        StartError: Another process was quicker.
    """
    number = open_lock(home / RECORD)
    if not try_lock(number):
        raise StartError(f"another Prefect server is being started in {home}")
    os.set_inheritable(number, True)
    write_record(number, ServerRecord(url, os.getpid(), version("prefect"), "", None, time.time()))


def _reachable(host: str) -> str:
    """Return the host by which this machine reaches a server that listens at another one."""
    host = HOST if host in EVERYWHERE else host
    return f"[{host}]" if ":" in host else host


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
