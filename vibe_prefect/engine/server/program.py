"""Program of a server's process: a Prefect server on a socket that it inherits.

It ends with its owner, whose end of a pipe it reads on standard input, or when nobody has used it for a while.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import prefect.settings
import uvicorn

from vibe_prefect.core.file_locks import open_lock, try_lock
from vibe_prefect.engine.server.launch import Launch
from vibe_prefect.engine.server.record import CLIENTS, RECORD, clear_record
from vibe_prefect.engine.server.settings import EMBEDDED_DEFAULTS

TICKS = 10
"""Ticks of uvicorn, of a tenth of a second each, between two checks whether the server is still needed."""

GRACE_SECONDS = 5
"""Seconds that open connections have at the end."""


class UseWatch:
    """Counts the requests of an app, and says when nobody has used the server for a while."""

    def __init__(self, app: Callable[..., Awaitable[None]], home: Path, launch: Launch) -> None:
        self._app = app
        self._home = home
        self._launch = launch
        self._open = 0
        self._used = time.monotonic()
        self._clients = open_lock(home / CLIENTS)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass on a request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        self._open += 1
        try:
            return await self._app(scope, receive, send)
        finally:
            self._open -= 1
            self._used = time.monotonic()

    def is_over(self) -> bool:
        """Return whether the server is to end: its home is gone, or nobody uses it.

        The lock of its users is kept in that case, so that a command that comes now waits for the end.
        """
        assert self._launch.record is not None
        if not _is_same_file(self._launch.record, self._home / RECORD):
            return True
        if self._launch.idle_seconds is None:
            return False
        if self._open or not try_lock(self._clients):
            self._used = time.monotonic()
            return False
        if time.monotonic() - self._used > self._launch.idle_seconds:
            return True
        fcntl.flock(self._clients, fcntl.LOCK_UN)
        return False


class Server(uvicorn.Server):
    """A server that starts alone in its home, and ends when it is not needed."""

    def __init__(self, config: uvicorn.Config, home: Path, is_over: Callable[[], bool] | None) -> None:
        """Remember the home; nothing runs yet.

        Args:
            config: Configuration of the server.
            home: Prefect's home.
            is_over: Returns whether the server is to end; `None` where its owner ends it.
        """
        super().__init__(config)
        self._home = home
        self._is_over = is_over

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, one after the other: several first starts at once would each create the tables of one database."""
        number = open_lock(self._home / "vibe-prefect-embedded.lock")
        while not self.should_exit and not try_lock(number):  # noqa: ASYNC110 - a lock tells nobody of its end
            await asyncio.sleep(0.1)
        await super().startup(sockets)
        os.close(number)

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server is to end."""
        over = self._is_over is not None and counter % TICKS == 0 and self._is_over()
        return await super().on_tick(counter) or over


def follow_owner() -> None:
    """End this process when the owner has closed standard input, or has ended."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def serve(launch: Launch) -> None:
    """Run the server to its end."""
    from prefect.server.api.server import create_app

    home = prefect.settings.get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    app: Any = create_app()
    is_over = None
    if launch.record is not None:
        os.chdir(home)  # not in the way of the folder in which it was started
        app = UseWatch(app, home, launch)
        is_over = app.is_over
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=GRACE_SECONDS)
    Server(config, home, is_over).run(sockets=[socket.socket(fileno=launch.socket)])
    if launch.record is not None:
        clear_record(launch.record)


def _is_same_file(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except OSError:
        return False


def main() -> None:
    """Run the program."""
    launch = Launch(**json.loads(sys.argv[1]))
    if launch.record is None:
        threading.Thread(target=follow_owner, daemon=True).start()
    defaults = {getattr(prefect.settings, name) for name in EMBEDDED_DEFAULTS}
    with prefect.settings.temporary_settings(restore_defaults=defaults):
        serve(launch)


if __name__ == "__main__":
    main()
