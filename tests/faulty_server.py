"""A way to a real Prefect server that can be made to fail: it forwards bytes until it is told to answer otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class FaultyServer:
    """Forwards connections to a server, or answers every request with an error status, or not at all."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._answer: bytes | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self.api_url = ""

    def fail(self, status: int) -> None:
        """Answer every request with a status from now on."""
        self._answer = f"HTTP/1.1 {status} Failing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        self._call(self._drop())

    def vanish(self) -> None:
        """Refuse every connection from now on."""
        assert self._server is not None
        self._loop.call_soon_threadsafe(self._server.close)
        self._call(self._drop())

    @contextmanager
    def running(self) -> Generator[FaultyServer]:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.api_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/api"
        try:
            yield self
        finally:
            self.vanish()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(60)
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _drop(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            if self._answer is not None:
                await reader.read(65_536)
                writer.write(self._answer)
                await writer.drain()
            else:
                back, forth = await asyncio.open_connection(*self._target)
                self._writers.add(forth)
                await asyncio.gather(_copy(reader, forth), _copy(back, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
