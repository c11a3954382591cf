"""All that is borrowed from inside Prefect: names and behaviour that its documentation does not promise.

Nothing else in this package uses a private name of Prefect, or reads meaning from its texts. What is borrowed here is
pinned by `tests/engine/test_prefect_seam.py`, so that a version of Prefect that changes it is noticed there first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import datetime
from functools import update_wrapper
from importlib import import_module
from inspect import Signature
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import prefect
from prefect import Flow
from prefect._internal.compatibility.blocks import call_explicitly_async_block_method
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultRecord, ResultStore  # pyright: ignore[reportPrivateImportUsage]
from prefect.utilities.callables import ParameterSchema, parameter_schema

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

TRIED = ("3.8", "3.9")
"""The versions of Prefect that the tests run with."""

CACHED = "Cached"
"""Prefect's name of the state of a task run with a reused result."""

_RAISED = "Task run encountered an exception "
"""Prefix of Prefect's messages about an exception, before its type, in the state of a task run."""


def untried_version(version: str = prefect.__version__) -> str | None:
    """Return a warning where the tests have never run with this version of Prefect.

    Args:
        version: The version; by default that of the Prefect which is installed.
    """
    if ".".join(version.split(".")[:2]) in TRIED:
        return None
    return f"Prefect {version} is new to vibe-prefect, which was tried with {' and '.join(TRIED)}: some things may fail"


async def read_block(block: Any, path: str) -> bytes:
    """Read a file of a storage block, whether its methods are coroutines, plain functions or both.

    Args:
        block: The block.
        path: The file, relative to the block's folder or prefix.

    Raises:
        Exception: The block cannot read it; each kind of block has its own errors.
    """
    return await call_explicitly_async_block_method(block, "read_path", (path,), {})


async def write_block(block: Any, path: str, content: bytes) -> None:
    """Write a file of a storage block.

    Args:
        block: The block.
        path: The file, relative to the block's folder or prefix.
        content: All of its bytes.

    Raises:
        Exception: The block cannot write it; each kind of block has its own errors.
    """
    await call_explicitly_async_block_method(block, "write_path", (path,), {"content": content})


class ResolvingFolder(LocalFileSystem):
    """A folder as a storage block with its own mapping from paths to files."""

    _block_type_name = "vibe_prefect folder"

    def resolve(self, path: str) -> Path:
        """Return the file at a path.

        Args:
            path: Relative to the folder; empty for the folder itself.
        """
        raise NotImplementedError

    def _resolve_path(self, path: str | None) -> Path:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.resolve(path or "")


class OpenResultStore(ResultStore):
    """A result store in which a subclass may replace the search for a record, its reading and its writing.

    Prefect calls the private methods alone; the public ones of the same purpose only call these.
    """

    async def has_record(self, key: str) -> bool:
        """Return whether there is a record that can be used.

        Args:
            key: Path of the record in the storage.
        """
        raise NotImplementedError

    async def load_record(self, key: str) -> Any:
        """Return the result in a record.

        Args:
            key: Path of the record in the storage.
        """
        raise NotImplementedError

    async def save_record(self, key: str, result: Any, metadata: bytes) -> bool:
        """Write a record, or leave it; returns whether it is written.

        Args:
            key: Path of the record in the storage.
            result: The result of the task run.
            metadata: Prefect's description of the record, as JSON.
        """
        raise NotImplementedError

    async def _aexists(self, key: str) -> bool:
        return await self.has_record(key)

    async def _aread(self, key: str, holder: str) -> ResultRecord[Any]:
        record = self.create_result_record(await self.load_record(key), key)
        record.mark_persisted()
        return record

    async def _apersist_result_record(self, result_record: ResultRecord[Any], holder: str) -> None:
        # Prefect's own way holds a large result in memory five times at once.
        key = str(result_record.metadata.storage_key)
        if await self.save_record(key, result_record.result, result_record.serialize_metadata()):
            result_record.mark_persisted()


class LateSchemaFlow(Flow[..., Coroutine[Any, Any, Any]]):
    """A flow that makes the schema of its parameters when that is asked for, and not when it is made.

    No run needs the schema, and to make that of a plan takes 0.2 s of each process.
    """

    def __init__(self, fn: FunctionType, **options: Any) -> None:
        """Make the flow as Prefect does, which makes the schema from the signature.

        Args:
            fn: The flow's function.
            **options: As Prefect's own.
        """
        bare = update_wrapper(FunctionType(fn.__code__, fn.__globals__, closure=fn.__closure__), fn)
        bare.__dict__["__signature__"] = Signature()
        super().__init__(bare, **options)
        update_wrapper(self, fn)
        self.fn = fn
        del self.parameters, self.__dict__["__signature__"]

    def __getattr__(self, name: str) -> Any:
        if name != "parameters":
            raise AttributeError(name)
        self.parameters = parameter_schema(self.fn)
        return self.parameters


def raised_text(message: str) -> str:
    """Return the text of an exception, out of the message of the state of a task run that it ended.

    Args:
        message: The message; returned as it is where it is about no exception.
    """
    if not message.startswith(_RAISED):
        return message
    return message.removeprefix(_RAISED).partition(": ")[2] or message


async def fetch_json(client: PrefectClient, path: str, seconds: float) -> Any:
    """Fetch JSON from a route for which Prefect's client has no call, without retries.

    Args:
        client: The client.
        path: The route, below the address of the API.
        seconds: Time that the answer may take.

    Raises:
        httpx.HTTPError: The server did not answer.
        ValueError: The answer is not JSON.
    """
    return (await client._client.get(path, timeout=seconds)).json()  # pyright: ignore[reportPrivateUsage]


def fetch_json_now(client: SyncPrefectClient, path: str) -> Any:
    """Fetch JSON from a route without retries; the client's own calls are tried six times.

    Args:
        client: The client.
        path: The route, below the address of the API.

    Raises:
        httpx.HTTPError: The server did not answer.
        ValueError: The answer is not JSON.
    """
    return client._client.get(path).json()  # pyright: ignore[reportPrivateUsage]


async def delete_once(client: PrefectClient, path: str) -> int:
    """Delete what is at a route, without retries and without a token against forged requests.

    Args:
        client: The client.
        path: The route, below the address of the API.

    Returns:
        The HTTP status of the answer.

    Raises:
        httpx.HTTPError: The server did not answer.
    """
    inner = client._client  # pyright: ignore[reportPrivateUsage]
    return (await httpx.AsyncClient.send(inner, inner.build_request("DELETE", path))).status_code


async def cut_off(client: PrefectClient) -> None:
    """Close the connections of a client that is in use: requests that wait, shielded ones included, fail at once.

    Args:
        client: The client.
    """
    await client._client.aclose()  # pyright: ignore[reportPrivateUsage]


def skip_csrf(client: PrefectClient) -> None:
    """Have a client ask for no token against forged requests; the setting would count for every server.

    Args:
        client: A client of a server that asks for none.
    """
    client._client.enable_csrf_support = False  # pyright: ignore[reportPrivateUsage]


def as_default(context: Any) -> Any:
    """Make `get_client()` return the client of a context, although that was made with settings of its own.

    Args:
        context: An `AsyncClientContext` or a `SyncClientContext`.

    Returns:
        The context.
    """
    context._httpx_settings = None
    return context


def is_console_handler(handler: logging.Handler) -> bool:
    """Return whether a handler of the log writes Prefect's own lines to the terminal.

    Args:
        handler: The handler.
    """
    from prefect.logging.handlers import PrefectConsoleHandler, _SafeStreamHandler  # pyright: ignore[reportPrivateUsage]

    return isinstance(handler, PrefectConsoleHandler | _SafeStreamHandler)


def cron_times(expression: str, after: datetime) -> Iterator[datetime]:
    """Yield the times of a cron expression as Prefect's server works them out; none where no date ever fits.

    Args:
        expression: The expression, valid for Prefect's `CronSchedule`.
        after: The time after which they come, without a zone.
    """
    reader: Any = import_module("prefect._vendor.croniter.croniter")
    times = reader.croniter(expression, after)
    with suppress(reader.CroniterBadDateError):
        while True:
            yield times.get_next(datetime)


_SCHEDULED = re.compile(r"scheduled ([0-9a-f-]{36}) ([0-9a-f-]{36}) ")
"""Beginning of the idempotency key that Prefect's server gives to a run that a schedule starts."""


def schedule_of(flow_run: FlowRun) -> tuple[UUID, UUID] | None:
    """Return the ids of the deployment and of its schedule that started a run; `None` where no schedule did.

    Args:
        flow_run: The run, as the server returns it.
    """
    match = _SCHEDULED.match(flow_run.idempotency_key or "")
    return (UUID(match[1]), UUID(match[2])) if match else None


def extend_form(deployment: RunnerDeployment, extend: Callable[[ParameterSchema], ParameterSchema]) -> None:
    """Replace the schema of a deployment's parameters, which Prefect makes from the flow alone.

    Args:
        deployment: The deployment, before it is sent to the server.
        extend: Returns the new schema.
    """
    form = deployment._parameter_openapi_schema  # pyright: ignore[reportPrivateUsage]
    deployment._parameter_openapi_schema = extend(form)  # pyright: ignore[reportPrivateUsage]
