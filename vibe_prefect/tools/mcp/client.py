"""Client of MCP servers: a session of its own for each call.

A server keeps no state from one node to the next: a result that depended on such a state would depend on more than the
node's content key says, and could not be had again when the run is resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import anyio
import httpx2
from anyio.to_thread import run_sync
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import INVALID_PARAMS, METHOD_NOT_FOUND, CallToolResult, Tool

from vibe_prefect.errors import ToolError, printable
from vibe_prefect.tools.mcp.endpoint import MAX_MESSAGE, McpServer
from vibe_prefect.tools.mcp.pipes import ServerProcess
from vibe_prefect.tools.secrecy.known import scrubbed, without_logins

MAX_PAGES = 50
"""Pages of a server's list of tools that are read."""

MAX_ERROR = 2_000
"""Characters of a server's own words in an error."""

MAX_PROGRESS = 200
"""Characters of the words with which a server reports progress."""

REFUSALS = frozenset({INVALID_PARAMS, METHOD_NOT_FOUND})
"""Codes of errors that the same call brings again."""

T = TypeVar("T")
Report = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class ServedTool:
    """A tool as a server describes it."""

    description: str
    """Text of the server's on what it does, cut and without secrets."""

    input_schema: dict[str, Any]
    """JSON Schema of its inputs."""

    output_schema: dict[str, Any] | None
    """JSON Schema of its structured output; `None` where the server states none."""

    version: str
    """The server's name and version, and a hash of both schemas."""


async def served_tools(server: McpServer, seconds: float) -> Mapping[str, ServedTool]:
    """Return all tools of a server by name.

    Args:
        server: The server.
        seconds: Time limit in seconds, its start included.

    Raises:
        ToolError: It cannot be started or reached, or answers with what is not MCP.
    """
    return await _in_session(server, seconds, _listed)


async def call(
    server: McpServer, name: str, version: str, inputs: dict[str, Any], report: Report | None = None
) -> CallToolResult:
    """Call a tool of a server.

    Args:
        server: The server.
        name: The tool, as the server calls it.
        version: Version of the tool that the plan was checked with.
        inputs: Inputs of the call.
        report: Is called with the progress that the server reports: a part from 0 to 1 or `None`, and a few words.

    Raises:
        ToolError: The server cannot be reached, has changed the tool since, took too long, or ended the call with an
            error of the protocol.
    """

    async def reported(progress: float, total: float | None, message: str | None) -> None:
        if report is not None:
            part = min(1.0, max(0.0, progress / total)) if total else None
            report(part, printable(scrubbed(message or ""), MAX_PROGRESS))

    async def work(client: Client) -> CallToolResult:
        served = (await _listed(client)).get(name)
        if served is None or served.version != version:
            change = "no longer has the tool" if served is None else "has another version of the tool"
            text = f"the MCP server {server.name!r} {change} {name!r} since the plan was checked; start the run again"
            raise ToolError(text, retryable=False)
        return await client.call_tool(name, inputs, progress_callback=reported)

    return await _in_session(server, server.seconds, work)


async def _listed(client: Client) -> dict[str, ServedTool]:
    info = client.server_info
    server = f"{info.name} {info.version}" if info else "unnamed"
    tools: dict[str, ServedTool] = {}
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools |= {tool.name: _served(tool, server) for tool in page.tools}
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise ToolError(f"its list of tools has more than {MAX_PAGES} pages", retryable=False)


def _served(tool: Tool, server: str) -> ServedTool:
    schemas = json.dumps([tool.input_schema, tool.output_schema], sort_keys=True)
    version = f"{printable(server, 200)} {hashlib.sha256(schemas.encode()).hexdigest()[:16]}"
    description = printable(scrubbed(tool.description or tool.title or tool.name), MAX_ERROR)
    return ServedTool(description, tool.input_schema, tool.output_schema, version)


async def _in_session(server: McpServer, seconds: float, work: Callable[[Client], Awaitable[T]]) -> T:
    """Connect to a server, do the work, and end the connection, whatever happens."""
    connection: _Process | _Address = _Process(server) if server.command else _Address(server)
    outcome: list[T] = []
    try:
        with anyio.fail_after(seconds):
            async with Client(await connection.transport()) as client:
                outcome.append(await work(client))
    except Exception as error:
        if not outcome:  # an error while the connection is closed takes nothing from the answer
            raise _failure(server, error, connection, seconds) from error
    return outcome[0]


def _failure(server: McpServer, error: Exception, connection: _Process | _Address, seconds: float) -> ToolError:
    """Return the error for a call that did not come to an answer."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    if isinstance(error, ToolError):
        return error
    if isinstance(error, TimeoutError):
        return ToolError(f"the MCP server {server.name!r} took longer than {seconds:g} s{connection.hint}")
    reason = connection.fault or str(error) or type(error).__name__
    text = printable(scrubbed(reason), MAX_ERROR)
    retryable = connection.fault is None and not (isinstance(error, MCPError) and error.code in REFUSALS)
    return ToolError(f"the MCP server {server.name!r} failed: {text}{connection.hint}", retryable=retryable)


class _Process:
    """Connection to a server that the call starts."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._process: ServerProcess | None = None

    async def transport(self) -> AbstractAsyncContextManager[Any]:
        environment = await run_sync(self._server.environment)
        self._process = ServerProcess(self._server.command, environment)
        return self._process.streams()

    @property
    def fault(self) -> str | None:
        return self._process.fault if self._process else None

    @property
    def hint(self) -> str:
        """How the process ended by itself, and its last words."""
        if self._process is None:
            return ""
        ended = f"; its process ended with code {self._process.ended}" if self._process.ended is not None else ""
        words = self._process.last_words
        return ended + (f"; its last words: {printable(scrubbed(words), MAX_ERROR)}" if words else "")


class _Address:
    """Connection to a server that listens at an address."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self.fault: str | None = None
        self.hint = f"; its address is {without_logins(server.url or '')}"

    async def transport(self) -> AbstractAsyncContextManager[Any]:
        return self._streams(await run_sync(self._server.headers))

    @asynccontextmanager
    async def _streams(self, headers: dict[str, str]) -> AsyncGenerator[Any]:
        timeout = httpx2.Timeout(30.0, read=self._server.seconds)
        hooks = {"response": [self._bound]}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks=hooks) as http,
            streamable_http_client(self._server.url or "", http_client=http, max_sse_event_size=MAX_MESSAGE) as streams,
        ):
            yield streams

    async def _bound(self, response: httpx2.Response) -> None:
        """Bound the content of an answer, and note what its status says."""
        if response.status_code in (401, 403):
            self.fault = f"it answered {response.status_code}; look at its key in the settings"
        response.stream = _Bounded(response.stream, self)


class _Bounded(httpx2.AsyncByteStream):
    """Content of an answer up to the largest message."""

    def __init__(self, stream: Any, connection: _Address) -> None:
        self._stream = stream
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_MESSAGE:
                self._connection.fault = f"it sent an answer of more than {MAX_MESSAGE:,} bytes"
                raise httpx2.StreamError(self._connection.fault)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
