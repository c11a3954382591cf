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
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self.api_url = ""

    def fail(self, status: int, header: str = "") -> None:
        """Answer every request with a status from now on.

        Args:
            status: The status.
            header: One more line for the answer's head, such as `Retry-After: 1`.
        """
        head = [f"HTTP/1.1 {status} Failing", "Content-Length: 0", "Connection: close", *([header] if header else [])]
        self._answer = "\r\n".join([*head, "", ""]).encode()
        self._call(self._drop())

    def drop(self) -> None:
        """Take every request from now on, and close its connection without an answer."""
        self._answer = b""
        self._call(self._drop())

    def slow(self, seconds: float) -> None:
        """Hold back each part of an answer from now on."""
        self._delay = seconds

    def heal(self) -> None:
        """Forward again what comes in; after `vanish` nothing comes in any more."""
        self._answer = None
        self._delay = 0.0

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
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(60)
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _drop(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            answer = self._answer
            if answer is not None:
                await reader.read(65_536)
                writer.write(answer)
                await writer.drain()
            else:
                back, forth = await asyncio.open_connection(*self._target)
                self._writers.add(forth)
                await asyncio.gather(self._copy(reader, forth, held=False), self._copy(back, writer, held=True))
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if held:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
        writer.close()
