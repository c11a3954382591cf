"""Processes of this machine, for work that keeps a processor busy.

Each worker is one process, which does one work at a time. A pool of the standard library would fail all its work when
one worker dies, could stop none that has begun, and brings no progress back.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, cast

from vibe_prefect.core.models import NodeResources
from vibe_prefect.core.user_code import call_in_thread
from vibe_prefect.errors import WorkerLostError
from vibe_prefect.run.sending import Message, Tell, execute_payload

BEGUN, TOLD, DONE = "begun", "told", "done"
"""First part of a message: the work is here; the second part is a message about it; the packed outcome comes next."""

END_SECONDS = 5.0
"""Seconds that a worker has to end by itself before it is killed."""


class ProcessCarrier:
    """Worker processes, each started when it is first needed."""

    def __init__(self, workers: int) -> None:
        """Make the carrier; no process is started yet.

        Args:
            workers: Largest number of processes.
        """
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()

    async def carry(self, payload: bytes, resources: NodeResources, tell: Tell) -> bytes:
        """Execute work in a worker; see `Carrier.carry`. The machine is this one, whatever the resources."""
        async with self._slots:
            while True:
                is_new = not self._idle
                worker = _Worker() if is_new else self._idle.pop()
                try:
                    outcome = await self._executed(worker, payload, tell)
                except _NotBegunError:
                    if is_new:
                        raise
                    continue
                self._idle.append(worker)
                return outcome

    async def _executed(self, worker: _Worker, payload: bytes, tell: Tell) -> bytes:
        self._busy.add(worker)
        try:
            return await worker.execute(payload, tell)
        except BaseException:
            worker.kill()
            raise
        finally:
            self._busy.discard(worker)

    async def count_workers(self) -> int:
        """Return how many processes there are; more are started as they are needed."""
        return len(self._busy) + len(self._idle)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in (*self._busy, *self._idle):
            worker.kill()

    async def close(self) -> None:
        """End all workers; one without work has time to end by itself."""
        for worker in self._busy:
            worker.kill()
        idle, self._idle = self._idle, []
        for worker in idle:
            await call_in_thread(worker.end)


class _NotBegunError(WorkerLostError):
    """A worker that ended before it had the work, as it may between two works: another one can take it."""


class _Worker:
    """One worker process."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="vibe-prefect-worker")
        self._process.start()
        theirs.close()

    async def execute(self, payload: bytes, tell: Tell) -> bytes:
        """Have the process execute work, and return the packed outcome.

        Raises:
            WorkerLostError: The process ended.
        """
        loop = asyncio.get_running_loop()
        has_begun = False

        def talk() -> bytes:
            nonlocal has_begun
            self._connection.send_bytes(payload)
            while True:
                kind, content = cast("tuple[str, Any]", self._connection.recv())
                if kind == DONE:
                    return self._connection.recv_bytes()
                if kind == BEGUN:
                    has_begun = True
                else:
                    loop.call_soon_threadsafe(tell, content)

        try:
            return await call_in_thread(talk)
        except (EOFError, OSError):
            self._process.join(END_SECONDS)
            error, when = (WorkerLostError, "in the middle of") if has_begun else (_NotBegunError, "before")
            raise error(f"the worker process ended {when} the work{self._how()}") from None

    def kill(self) -> None:
        """End the process at once. The thread that talks to it ends, and with it the connection."""
        self._process.kill()

    def end(self) -> None:
        """Have the process end, and wait for it."""
        self._connection.close()
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()

    def _how(self) -> str:
        code = self._process.exitcode
        if code is None:
            return ""
        return f" (exit code {code})" if code >= 0 else f" ({signal.Signals(-code).name})"


def _serve(connection: Connection) -> None:
    """Execute one work after the other, until the other end is closed. Ctrl-C is the run's matter, not the worker's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()

    def tell(message: Message) -> None:
        connection.send((TOLD, message))

    with suppress(EOFError, OSError):
        while True:
            connection.poll(None)
            connection.send((BEGUN, None))
            outcome = execute_payload(connection.recv_bytes(), tell)
            connection.send((DONE, None))
            connection.send_bytes(outcome)  # in no other message, which would be a copy of it on either side
            del outcome


def _end_with_parent() -> None:
    """End this process in the middle of its work when the one that started it is killed: nobody takes the outcome."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
