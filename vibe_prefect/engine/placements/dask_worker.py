"""Executes the work of nodes on a worker of a Dask cluster.

A worker cannot stop a thread, so the work is done in processes of the worker's own, which can be killed. And Dask gives
the work of a worker that died to another one, even one whose outcome has arrived. Here the run sets an event of the
cluster for each attempt, the first worker that begins the work clears it, and no other one does the work: whether an
attempt is made again is the run's decision.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from typing import Any, cast

from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from vibe_prefect.core.models import NodeResources
from vibe_prefect.engine.placements.process import ProcessCarrier
from vibe_prefect.run.sending import Message

PLUGIN = "vibe-prefect"
"""Name of the plugin."""


class NodeWorkerPlugin(WorkerPlugin):
    """Holds the processes of a Dask worker in which the work of nodes is done."""

    name = PLUGIN
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin with a worker; processes are started when they are first needed."""
        if multiprocessing.current_process().daemon:
            # Dask starts its workers as daemons, which may have no children; these end with the plugin.
            multiprocessing.current_process().daemon = False
        self._worker: Any = worker
        self._carrier = ProcessCarrier(worker.state.nthreads)
        self._at_work: dict[str, asyncio.Future[bytes]] = {}

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Stop a work that Dask has cancelled; Dask itself lets it go on and forgets what it returns."""
        if start == "executing" and finish == "released" and key in self._at_work:
            self._at_work[key].cancel()

    def teardown(self, worker: Worker) -> None:
        """End the processes."""
        self._carrier.kill()

    async def execute(self, payload: bytes, attempt: str, topic: str) -> bytes | str:
        """Execute work; see `execute_here`."""
        if not await self._worker.scheduler.event_is_set(name=attempt):
            return "the Dask worker ended in the middle of the work"
        await self._worker.scheduler.event_clear(name=attempt)

        def tell(message: Message) -> None:
            self._worker.log_event(topic, (attempt, message))

        work = asyncio.ensure_future(self._carrier.carry(payload, NodeResources(), tell))
        self._at_work[attempt] = work
        try:
            await asyncio.wait([work])
        finally:
            del self._at_work[attempt]
            work.cancel()
        if work.cancelled():
            return "the work was stopped"
        error = work.exception()
        return work.result() if error is None else str(error)


async def execute_here(payload: bytes, attempt: str, topic: str) -> bytes | str:
    """Execute packed work on the Dask worker that calls this.

    Args:
        payload: The work.
        attempt: Key of the Dask task, and name of the event that allows one worker to begin it.
        topic: Topic of the messages about the work, each with the key before it.

    Returns:
        The packed outcome; a text that says why there is none: the worker that began the work before is lost, or the
        process that did it has ended. An exception would stand in the worker's log as an error of the program.
    """
    plugin = cast("NodeWorkerPlugin", get_worker().plugins[PLUGIN])
    return await plugin.execute(payload, attempt, topic)
