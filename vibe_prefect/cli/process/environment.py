"""Prefect around a run: the choice of its server, and of Prefect's messages that the user sees."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from vibe_prefect.cli.exits import StartError, debugging
from vibe_prefect.cli.home import check_home
from vibe_prefect.cli.process.background import BackgroundServer, ServerInUseError
from vibe_prefect.cli.process.embedded import EmbeddedServer
from vibe_prefect.cli.process.interrupt import sure_interrupt
from vibe_prefect.cli.process.loopback import bypass_proxies
from vibe_prefect.cli.process.settings_files import (
    SERVER_MINUTES_VARIABLE,
    check_settings_files,
    may_set_ours,
    may_set_prefect,
    settings_files,
    unknown_settings,
)
from vibe_prefect.engine.server.process import HOST, answers, home_of
from vibe_prefect.engine.server.record import is_running
from vibe_prefect.errors import UsageError
from vibe_prefect.settings.server_minutes import DEFAULT_SERVER_MINUTES, MAX_SERVER_MINUTES

Answer = TypeVar("Answer")

API_VARIABLE = "PREFECT_API_URL"
LOCAL_API = f"http://{HOST}:4200/api"
"""Where `prefect server start` and `vibe-prefect server start` listen unless they are told otherwise."""

EPHEMERAL_VARIABLES = ("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "PREFECT_SERVER_EPHEMERAL_ENABLED")
QUIET_LOGGERS = ("prefect", "asyncio", "httpcore", "httpx", "uvicorn", "fastapi", "websockets")
"""Loggers whose messages are not shown; Prefect's API log handler still takes a run's log to the server."""


@dataclass(frozen=True)
class Server:
    """The Prefect server of a run."""

    api_url: str
    description: str = ""
    """Where the server comes from, in a few words."""

    embedded: EmbeddedServer | None = None
    """The process, where the server ends with the command."""

    background: BackgroundServer | None = None
    """The server of this machine that goes on after the command; `None` for any other."""

    @property
    def line(self) -> str:
        """The server in one line."""
        return f"{self.api_url.removesuffix('/api')}  ({self.description})"

    @property
    def ended(self) -> str | None:
        """End of a server on this machine in words; `None` while it runs, and for a server elsewhere."""
        local = self.embedded or self.background
        return None if local is None else local.ended

    def flow_run_url(self, flow_run_id: str) -> str | None:
        """Return the address of a flow run in the UI; `None` when nothing serves a UI."""
        if self.embedded is not None:
            return None
        from vibe_prefect.engine.server.ui_pages import run_page

        return run_page(flow_run_id)

    def kill(self) -> None:
        """End the server at once, if it is to end with the command."""
        if self.embedded is not None:
            self.embedded.kill()


def prefect_server(starting: Callable[[], object]) -> Server:
    """Find the Prefect server that is configured or runs on this machine, or start one; Prefect is imported meanwhile.

    A server that ends with the process does so after Prefect has sent it the last log lines and events: the exit
    handler that is registered first is called last.

    Args:
        starting: Called when a server is being started, which takes some seconds.

    Raises:
        StartError: The server does not start.
    """
    # Prefect prints a notice about its telemetry in the middle of a run, and says in it that this is how to decline.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    configured = configured_api_url()
    if configured is not None:
        check_home()
        _import_prefect()
        return Server(configured, "as the settings say")
    bypass_proxies()
    home = check_home(written=True)
    started_by_hand = None if is_running(home) else server_by_hand(home)
    if started_by_hand is not None:
        use_api(started_by_hand)
        _import_prefect()
        return Server(started_by_hand, "found on this machine")
    return _local_server(home, starting)


def server_by_hand(home: Path) -> str | None:
    """Return the API address of a server at Prefect's own port that was started without us; `None` for none.

    Args:
        home: Prefect's home: a server of another home knows other runs.
    """
    return LOCAL_API if answers(LOCAL_API) and home_of(LOCAL_API) == str(home.resolve()) else None


def _local_server(home: Path, starting: Callable[[], object]) -> Server:
    """Join the server in the background, or start a server; Prefect is imported while it starts."""
    if not is_running(home):
        starting()
    local = _join_or_start(home, server_minutes())
    try:
        use_api(local.api_url)
        _import_prefect()
        local.wait_ready()
        use_api(local.api_url)
    except BaseException:
        if isinstance(local, EmbeddedServer):
            local.kill()
        raise
    if isinstance(local, EmbeddedServer):
        return Server(local.api_url, "ends with this command", embedded=local)
    return Server(local.api_url, local.description, background=local)


def _join_or_start(home: Path, minutes: float) -> EmbeddedServer | BackgroundServer:
    """Find the server of a home, or start one that need not answer yet.

    Args:
        home: Prefect's home.
        minutes: Minutes for which a started server goes on after its last use; 0 for one that ends with this process.
    """
    if minutes or is_running(home):
        with suppress(ServerInUseError):  # commands with other settings use it
            return BackgroundServer(home, minutes * 60)
    embedded = EmbeddedServer()
    atexit.register(embedded.stop)
    return embedded


def server_minutes() -> float:
    """Return the setting `server_minutes`, without Prefect where a variable holds it.

    Raises:
        UsageError: It is not a number of minutes.
    """
    text = os.environ.get(SERVER_MINUTES_VARIABLE)
    if text is not None:
        try:
            minutes = float(text)
        except ValueError:
            minutes = math.nan
        if not 0 <= minutes <= MAX_SERVER_MINUTES:
            raise UsageError(f"{SERVER_MINUTES_VARIABLE}: expected minutes, 0 or more, found {text!r}")
        return minutes
    if not may_set_ours():
        return DEFAULT_SERVER_MINUTES
    from vibe_prefect.settings.package import load_settings

    return load_settings().server_minutes


def _import_prefect() -> None:
    """Import the modules of a run, with Prefect's own handlers for the exit; Python's warnings are not the user's.

    What an import makes stays: to look for garbage in it, now and later, takes 0.1 s.
    """
    if not sys.warnoptions and not debugging():
        warnings.simplefilter("ignore")
    gc.disable()
    try:
        with sure_interrupt():
            import_module("vibe_prefect.executor")
    finally:
        gc.freeze()
        gc.enable()


def configured_api_url() -> str | None:
    """Return the address of the Prefect API that the user has set, in the environment or by a profile.

    Raises:
        StartError: No address is set, and the embedded server is switched off.
        UsageError: A file of settings cannot be read.
    """
    check_settings_files()
    if from_environment := os.environ.get(API_VARIABLE):
        return from_environment
    if not (_sets_ephemeral(os.environ) or any(map(may_set_prefect, settings_files()))):
        return None
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url is None and not settings.server.ephemeral.enabled:
        raise StartError(
            f"no Prefect server is configured and the embedded one is switched off: set {API_VARIABLE}, "
            "or PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=true"
        )
    return settings.api.url


def _sets_ephemeral(environment: Iterable[str]) -> bool:
    """Return whether the environment says whether there may be an embedded server."""
    return any(name.upper() in EPHEMERAL_VARIABLES for name in environment)


def use_api(api_url: str) -> None:
    """Make Prefect talk to a server, whether it is imported already or not."""
    os.environ[API_VARIABLE] = api_url
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


@contextmanager
def server_failures(server: Server) -> Generator[None]:
    """Turn failures of a Prefect server into one line for people.

    Raises:
        StartError: The server does not answer, is not a Prefect server, wants a login, fails, or is too old.
    """
    try:
        yield
    except Exception as error:
        from vibe_prefect.engine.server.server_failures import explain

        explanation = explain(error, server.api_url)
        if explanation is None:
            raise
        raise StartError(explanation) from error


def ask(server: Server, question: Coroutine[Any, Any, Answer]) -> Answer:
    """Ask a Prefect server.

    Raises:
        StartError: It does not answer as it should; see `server_failures`.
    """
    with server_failures(server):
        return asyncio.run(question)


class MessageHandler(logging.Handler):
    """Shows warnings of this package and of tools; Prefect's own go to its server alone."""

    def __init__(self, show: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        import prefect

        self._show = show
        self._prefect_folder = str(prefect.__module_path__)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record's message without its traceback."""
        # Prefect's background workers log under the bare names of their classes.
        from vibe_prefect.run.handlers import node_at_work

        is_prefects = record.pathname.startswith(self._prefect_folder)
        if is_prefects or record.name.split(".", 1)[0] in QUIET_LOGGERS:
            return
        try:
            node = node_at_work()
            self._show(record.getMessage() if node is None else f"{node}: {record.getMessage()}")
        except Exception:  # noqa: BLE001 - as every handler of the library does
            self.handleError(record)


def quieten(show: Callable[[str], object]) -> None:
    """Remove Prefect's log from the terminal; `VIBE_PREFECT_DEBUG` leaves it there.

    Args:
        show: Shows a warning that the user should see.
    """
    from vibe_prefect.engine.prefect_seam.meanings import is_console_handler
    from vibe_prefect.engine.prefect_seam.versions import untried_version

    for unknown in unknown_settings():
        show(unknown)
    if version := untried_version():
        show(version)
    if debugging():
        return
    logging.raiseExceptions = False  # else Prefect writes to the terminal, raw, which log lines its server refused
    for name in ("", *logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if is_console_handler(handler):
                logger.removeHandler(handler)
                logger.addHandler(logging.NullHandler())  # else Python prints what no handler takes
    logging.getLogger().addHandler(MessageHandler(show))
