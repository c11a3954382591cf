"""A Ray cluster that carries the work of nodes: one with an address, or one that the run starts with `prefect-ray`."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from queue import SimpleQueue
from typing import Any, ClassVar, cast

import ray
from anyio import CancelScope, move_on_after
from anyio.to_thread import run_sync
from ray import exceptions
from ray._private.ray_logging import global_worker_stdstream_dispatcher

from vibe_prefect.core.models import NodeResources
from vibe_prefect.errors import NotSentError, PlacementError, WorkerLostError
from vibe_prefect.run.sending import BEGUN, Message, Tell, execute_payload
from vibe_prefect.settings.placements import PlacementSettings

_Runner: Any = import_module("prefect_ray").RayTaskRunner  # the package states no types

_ray: Any = ray  # nor does this one, for most of its functions

STOP_SECONDS = 5.0
"""Seconds in which the cluster has to take the order to stop a work."""

_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
    exceptions.LocalRayletDiedError,
)
"""Errors of Ray about a worker that is gone."""


class _Connection:
    """The connection of this process to a Ray cluster, which its runs share: a process can have one at a time."""

    _lock = threading.Lock()
    _current: ClassVar[_Connection | None] = None

    def __init__(self, address: str | None, options: Mapping[str, Any]) -> None:
        self.address = address
        self._runs = 0
        # Without an address Ray would join a cluster that runs on this machine, or that RAY_ADDRESS names.
        self._runner = _Runner(address=address or "local", init_kwargs=options)
        # The processes of the cluster end with the thread that started them: Ray asks Linux for that.
        self._thread = ThreadPoolExecutor(1, "vibe-prefect-ray")
        self._thread.submit(self._runner.__enter__).result()

    @classmethod
    def join(cls, address: str | None, options: Mapping[str, Any]) -> _Connection:
        """Return the connection, made by the first run that needs it.

        Raises:
            PlacementError: There is one to another cluster.
        """
        with cls._lock:
            connection = cls._current
            if connection is None:
                connection = cls._current = cls(address, options)
            elif connection.address != address:
                current = connection.address or "the one that it has started"
                raise PlacementError(
                    f"this process is connected to another Ray cluster, {current}, and can use one at a time: run what "
                    f"needs {address or 'a cluster of its own'} in another run"
                )
            connection._runs += 1
            return connection

    def leave(self) -> None:
        """End the connection with the last run that uses it, and the cluster where it was started for them."""
        with self._lock:
            self._runs -= 1
            if self._runs == 0:
                _Connection._current = None
                self._thread.submit(self._runner.__exit__, None, None, None).result()
                self._thread.shutdown(wait=False)


class RayCarrier:
    """A connection to a Ray cluster, and the cluster where the run has started it."""

    def __init__(self, connection: _Connection, resources: Mapping[str, float] | None) -> None:
        """Make the carrier; see `open_ray`.

        Args:
            connection: The connection.
            resources: Resources of a cluster that the run has started; `None` for one with an address.
        """
        self._connection = connection
        self._resources = resources
        self._streams = not str(connection.address).startswith("ray://")
        # Whether an attempt is made again is the run's decision, and not Ray's.
        if self._streams:
            self._function = _ray.remote(max_retries=0, num_returns="streaming")(execute_streaming)
        else:  # Ray's client knows no streams
            self._function = _ray.remote(max_retries=0)(execute_silently)

    async def carry(self, payload: bytes, resources: NodeResources, tell: Tell) -> bytes:
        """Have a worker execute work; see `Carrier.carry`."""
        options = ray_options(resources)
        self._check(options)
        reference = self._function.options(**options).remote(payload)
        try:
            return await self._outcome(reference, tell)
        except _LOST as error:
            text = str(error).partition("\n")[0]
            raise WorkerLostError(f"the Ray worker ended in the middle of the work: {text}") from None
        except exceptions.RayTaskError as error:
            raise NotSentError(f"the Ray worker could not take the work: {error.cause!r}") from None
        except exceptions.RayError as error:
            raise PlacementError(f"Ray did not do the work: {type(error).__name__}: {error}") from None
        except asyncio.CancelledError:
            with move_on_after(STOP_SECONDS, shield=True):
                await run_sync(lambda: _ray.cancel(reference, force=True), abandon_on_cancel=True)
            raise

    async def count_workers(self) -> int:
        """Return how many machines the cluster has: each starts the workers that it needs."""
        machines: list[dict[str, Any]] = await run_sync(_ray.nodes)
        return sum(machine["Alive"] for machine in machines)

    async def close(self) -> None:
        """Close the connection, and end the cluster where it is the run's own."""
        with CancelScope(shield=True):
            await run_sync(self._connection.leave)

    async def _outcome(self, reference: Any, tell: Tell) -> bytes:
        if not self._streams:
            tell((BEGUN, None, ""))
            return await reference
        async for item in cast("AsyncIterator[Any]", reference):
            value: bytes | Message = await item
            if isinstance(value, bytes):
                return value
            tell(value)
        raise WorkerLostError("the Ray worker ended without an outcome")

    def _check(self, options: dict[str, float]) -> None:
        """Refuse work for which the run's own cluster is too small; one with an address may grow."""
        if self._resources is None:
            return
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        for option, amount in options.items():
            there = self._resources.get(names[option], 0)
            if amount > there:
                raise PlacementError(
                    f"the Ray cluster has {names[option]} {there:g}, and policy.resources asks for {amount:g}: set "
                    "`workers`, or `options`, of the placement"
                )


def execute_streaming(payload: bytes) -> Generator[Message | bytes]:
    """Execute packed work on a Ray worker; yields the messages about it, and in the end the packed outcome."""
    messages: SimpleQueue[Message | bytes | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            messages.put(execute_payload(payload, messages.put))
        except BaseException as error:  # noqa: BLE001 - it is raised where Ray sees it
            messages.put(error)

    threading.Thread(target=work, name="work of a node", daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if isinstance(message, bytes):
            return


def execute_silently(payload: bytes) -> bytes:
    """Execute packed work on a Ray worker; messages about it are lost."""
    return execute_payload(payload, lambda _: None)


def ray_options(resources: NodeResources) -> dict[str, float]:
    """Return what a node needs as options of a Ray task; a node that states nothing takes one processor core."""
    needed = {
        "num_cpus": resources.cpu if resources.cpu is not None else 1,
        "num_gpus": resources.gpu,
        "memory": resources.memory,
    }
    return {name: amount for name, amount in needed.items() if amount is not None}


async def open_ray(settings: PlacementSettings) -> RayCarrier:
    """Connect to a cluster with an address, or start one on this machine and connect to it.

    Raises:
        PlacementError: It does not answer, or cannot be started.
    """
    own = settings.address is None
    options = (_local_options(settings.workers) if own else _QUIET) | settings.options
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        connection = await run_sync(_Connection.join, settings.address, options)
    except PlacementError:
        raise
    except Exception as error:
        where = "a Ray cluster on this machine" if own else f"the Ray cluster at {settings.address}"
        raise PlacementError(f"{where} does not answer: {type(error).__name__}: {error}") from error
    # Ray prints about each lost worker on standard output, where a command may write its JSON.
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    return RayCarrier(connection, _ray.cluster_resources() if own else None)


_QUIET = {"log_to_driver": False, "configure_logging": False}
"""Options of every connection: what workers write stays in Ray's own logs."""


def _local_options(workers: int | None) -> dict[str, Any]:
    """Return the options of a cluster on this machine, which has no dashboard."""
    return _QUIET | {"num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
