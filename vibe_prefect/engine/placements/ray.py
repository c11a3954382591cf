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
from typing import Any, cast

import ray
from anyio.to_thread import run_sync
from ray import exceptions
from ray._private.ray_logging import global_worker_stdstream_dispatcher

from vibe_prefect.core.models import NodeResources
from vibe_prefect.errors import NotSentError, PlacementError, WorkerLostError
from vibe_prefect.run.sending import BEGUN, Message, Tell, execute_payload
from vibe_prefect.settings.placements import PlacementSettings

_Runner: Any = import_module("prefect_ray").RayTaskRunner  # the package states no types

_ray: Any = ray  # nor does this one, for most of its functions

_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
    exceptions.LocalRayletDiedError,
)
"""Errors of Ray about a worker that is gone."""


class RayCarrier:
    """A connection to a Ray cluster, and the cluster where the run has started it."""

    def __init__(self, runner: Any, thread: ThreadPoolExecutor, resources: Mapping[str, float] | None) -> None:
        """Make the carrier; see `open_ray`.

        Args:
            runner: Prefect's task runner, connected to the cluster.
            thread: The thread that has connected it.
            resources: Resources of a cluster that the run has started; `None` for one with an address.
        """
        self._runner = runner
        self._thread = thread
        self._resources = resources
        self._streams = not str(runner.address).startswith("ray://")
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
            await run_sync(lambda: _ray.cancel(reference, force=True))
            raise

    async def close(self) -> None:
        """Close the connection, and end the cluster where it is the run's own."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._runner.__exit__, None, None, None)
        self._thread.shutdown(wait=False)

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
    runner = _Runner(address=settings.address, init_kwargs=options)
    # The processes of the cluster end with the thread that started them: Ray asks Linux for that.
    thread = ThreadPoolExecutor(1, "vibe-prefect-ray")
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        await asyncio.get_running_loop().run_in_executor(thread, runner.__enter__)
    except Exception as error:
        where = "a Ray cluster on this machine" if own else f"the Ray cluster at {settings.address}"
        raise PlacementError(f"{where} does not answer: {type(error).__name__}: {error}") from error
    # Ray prints about each lost worker on standard output, where a command may write its JSON.
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    return RayCarrier(runner, thread, _ray.cluster_resources() if own else None)


_QUIET = {"log_to_driver": False, "configure_logging": False}
"""Options of every connection: what workers write stays in Ray's own logs."""


def _local_options(workers: int | None) -> dict[str, Any]:
    """Return the options of a cluster on this machine, which has no dashboard."""
    return _QUIET | {"num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
