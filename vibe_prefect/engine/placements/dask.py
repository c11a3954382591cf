"""A Dask cluster that carries the work of nodes: one with an address, or one that `prefect-dask` starts for the run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any
from uuid import uuid4

from anyio import CancelScope, move_on_after
from anyio.to_thread import run_sync
from distributed import Client
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker
from prefect_dask.task_runners import DaskTaskRunner

from vibe_prefect.core.models import NodeResources
from vibe_prefect.engine.placements.dask_worker import NodeWorkerPlugin, execute_here
from vibe_prefect.errors import PlacementError, WorkerLostError
from vibe_prefect.run.sending import Message, Tell
from vibe_prefect.settings.placements import PlacementSettings

CONNECT_SECONDS = 15
"""Seconds in which the scheduler of a cluster has to answer."""

STOP_SECONDS = 5.0
"""Seconds in which the scheduler has to take the order to stop a work."""

_LOST = frozenset({"cancelled", "lost"})
"""States of a Dask future whose scheduler is gone."""

_RUNNER_OPTIONS = frozenset({"cluster_class", "adapt_kwargs"})
"""Options of a placement that are those of the `DaskTaskRunner`; all others are those of the cluster."""


class DaskCarrier:
    """A connection to a Dask cluster, and the cluster where the run has started it."""

    def __init__(self, client: Any, own: ExitStack | None) -> None:
        """Make the carrier; see `open_dask`.

        Args:
            client: The asynchronous client of the cluster.
            own: Ends the cluster where the run has started it; `None` for a cluster with an address.
        """
        self._client = client
        self._own = own
        self._topic = f"vibe-prefect-{uuid4().hex}"
        self._listeners: dict[str, Tell] = {}

    async def begin(self) -> None:
        """Prepare the workers, also those that join later, and listen to what they say about their work.

        Raises:
            PlacementError: The package is missing on a worker.
        """
        self._client.subscribe_topic(self._topic, self._hear)
        replies: Mapping[str, Mapping[str, Any]] = await self._client.register_plugin(NodeWorkerPlugin())
        for address, reply in replies.items():
            if reply.get("status") == "error":
                raise PlacementError(f"the worker {address} cannot prepare for the work: {reply.get('exception')!r}")

    async def carry(self, payload: bytes, resources: NodeResources, tell: Tell) -> bytes:
        """Have a worker execute work; see `Carrier.carry`."""
        attempt = f"vibe-prefect-{uuid4().hex}"
        needed = dask_resources(resources)
        if needed:
            await self._check(needed)
        await self._client.scheduler.event_set(name=attempt)  # the first worker that begins the work clears it
        self._listeners[attempt] = tell
        try:
            future = self._client.submit(
                execute_here, payload, attempt, self._topic, key=attempt, resources=needed, retries=0, pure=False
            )
            return await self._outcome(future)
        except BaseException:
            with suppress(OSError), move_on_after(STOP_SECONDS, shield=True):
                await self._client.scheduler.event_clear(name=attempt)
            raise
        finally:
            del self._listeners[attempt]

    async def count_workers(self) -> int:
        """Return how many workers the scheduler knows."""
        return len(await self._workers())

    async def close(self) -> None:
        """Close the connection, and end the cluster where it is the run's own."""
        with CancelScope(shield=True):
            await self._client.close()
            if self._own is not None:
                await run_sync(self._own.close)

    async def _outcome(self, future: Any) -> bytes:
        try:
            outcome: bytes | str = await future
        except KilledWorker as error:
            raise WorkerLostError(f"Dask workers ended again and again: {error}") from None
        except (asyncio.CancelledError, FutureCancelledError):
            if future.status in _LOST:
                raise WorkerLostError("the Dask scheduler was lost in the middle of the work") from None
            with suppress(OSError), move_on_after(STOP_SECONDS, shield=True):
                await self._client.cancel([future], force=True)
            raise
        if isinstance(outcome, str):
            raise WorkerLostError(outcome)
        return outcome

    async def _workers(self) -> Mapping[str, Any]:
        """Return what the scheduler knows of each worker, by its address."""
        return (await self._client.scheduler.identity(n_workers=-1))["workers"]

    def _hear(self, event: tuple[float, tuple[str, Message]]) -> None:
        attempt, message = event[1][:2]
        if attempt in self._listeners:
            self._listeners[attempt](message)

    async def _check(self, needed: Mapping[str, float]) -> None:
        """Refuse work for which the run's own cluster has no worker; one with an address may get one later."""
        if self._own is None:
            return
        offers = [worker["resources"] for worker in (await self._workers()).values()]
        if not any(all(offer.get(name, 0) >= amount for name, amount in needed.items()) for offer in offers):
            wanted = ", ".join(f"{name} {amount:g}" for name, amount in needed.items())
            raise PlacementError(
                f"no worker has {wanted}, which policy.resources asks for; each has {offers[:1]}: set `workers`, or "
                "`options.resources`, of the placement"
            )


def dask_resources(resources: NodeResources) -> dict[str, float]:
    """Return what a node needs under the names that Dask's documentation gives to the resources of workers."""
    needed = {"CPU": resources.cpu, "GPU": resources.gpu, "MEMORY": resources.memory}
    return {name: float(amount) for name, amount in needed.items() if amount is not None}


async def open_dask(settings: PlacementSettings) -> DaskCarrier:
    """Connect to a cluster with an address, or start one on this machine and connect to it.

    Raises:
        PlacementError: It does not answer, or cannot be started.
    """
    own = None if settings.address else ExitStack()
    where = f"the Dask scheduler at {settings.address}" if own is None else "a Dask cluster on this machine"
    try:
        address = settings.address if own is None else await run_sync(_start, own, settings)
        client: Any = await Client(address, asynchronous=True, set_as_default=False, timeout=CONNECT_SECONDS)
        carrier = DaskCarrier(client, own)
        await carrier.begin()
    except Exception as error:  # each class of clusters has its own
        if own is not None:
            await run_sync(own.close)
        if isinstance(error, PlacementError):
            raise
        raise PlacementError(f"{where} does not answer: {type(error).__name__}: {error}") from error
    return carrier


def _start(own: ExitStack, settings: PlacementSettings) -> str:
    """Start a cluster of the run's own, and return its address."""
    options = {name: value for name, value in settings.options.items() if name not in _RUNNER_OPTIONS}
    runner_options = {name: value for name, value in settings.options.items() if name in _RUNNER_OPTIONS}
    if "cluster_class" not in runner_options:
        options = _local_options(settings.workers or os.cpu_count() or 1) | options
    runner: Any = own.enter_context(DaskTaskRunner(cluster_kwargs=options, **runner_options))
    return runner.client.scheduler.address


def _local_options(workers: int) -> dict[str, Any]:
    """Return the options of a cluster on this machine that no other machine reaches."""
    return {
        "n_workers": workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",  # for `None` it would be port 8787 of all interfaces
        "silence_logs": logging.CRITICAL,
        "resources": {"CPU": max(1.0, (os.cpu_count() or 1) / workers)},
    }
