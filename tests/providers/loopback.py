"""A real HTTP server on loopback, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

BOUND = 20.0


@contextmanager
def serving(app: Any, host: str = "127.0.0.1", **options: Any) -> Generator[int]:
    """Serve an ASGI application and yield its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", ws="websockets-sansio", timeout_graceful_shutdown=1, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(BOUND)
        listener.close()
        assert not thread.is_alive()


def until(holds: Any) -> None:
    """Wait until something holds, at most `BOUND` seconds."""
    end = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < end, f"it did not come true in {BOUND:g} s"
        time.sleep(0.005)
