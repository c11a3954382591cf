"""The tools of MCP servers as tools of plans: `<server>.<tool>`, one for each that the operator allows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from anyio.to_thread import run_sync
from pydantic import TypeAdapter

from vibe_prefect.errors import ToolError, ToolInputError, did_you_mean
from vibe_prefect.schemas.schema import mismatches, schema_problems
from vibe_prefect.tools.base import (
    INPUT_PATH,
    OUTPUT_FOLDER,
    OUTPUT_PATH,
    BaseTool,
    ToolCategory,
    ToolContext,
    ToolResult,
    ToolSpec,
)
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.mcp.endpoint import MISSING, SETTING, McpServer
from vibe_prefect.tools.provenance import provenance_of, write_with_provenance
from vibe_prefect.tools.workspace import FileRef

if TYPE_CHECKING:
    from vibe_prefect.tools.mcp.client import ServedTool

CHECK_SECONDS = 30.0
"""Seconds that a server may take to start and to list its tools when a plan is checked."""

FORMATS = frozenset({"jinja", INPUT_PATH, OUTPUT_PATH, OUTPUT_FOLDER})
"""Formats of inputs that this package gives a meaning of its own; a server's schema cannot claim it."""

_FILE_REF = TypeAdapter(FileRef).json_schema()


class McpTool(BaseTool):
    """A tool of an MCP server that was asked for its description."""

    def __init__(self, server: McpServer, name: str, served: ServedTool) -> None:
        self._server = server
        self._name = name
        self._spec = _spec(server, name, served)
        self.version = served.version
        self.source_object = server.name  # the work is not this package's, so that what it costs is not known
        self.key_sources = server.key_sources

    @property
    def spec(self) -> ToolSpec:
        """Specification of the tool, as the server describes it."""
        return self._spec

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        """Call the tool in a session of its own.

        Raises:
            ToolInputError: The inputs, their templates filled in, do not fit the server's schema.
            ToolError: The server cannot be reached, or says that the call failed.
        """
        from vibe_prefect.tools.mcp.answers import read_answer
        from vibe_prefect.tools.mcp.client import call

        if misfits := mismatches(self._spec.input_schema, inputs):
            raise ToolInputError(f"{self._spec.name}: {'; '.join(map(str, misfits))}")
        context = context or {}
        report = context.get("report_progress")
        result = await call(self._server, self._name, str(self.version), inputs, report)
        files = _FilesOfCall(self._spec.name, str(self.version), context)
        return ToolResult(True, await run_sync(read_answer, self._spec.name, result, files.write))


class UnusableTool(BaseTool):
    """A tool of an MCP server that cannot be called as things are; it says what to do."""

    version = "unusable"

    def __init__(self, server: McpServer, name: str, reason: str | None) -> None:
        self._spec = _spec(server, name, None)
        if reason:
            self._spec.description += f" It cannot be used: {reason}"
        self.missing_extra = MISSING
        self.key_sources = server.key_sources
        self.missing_setting = reason

    @property
    def spec(self) -> ToolSpec:
        """Specification of the tool, as far as it is known."""
        return self._spec

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:  # noqa: ARG002
        """Refuse the call.

        Raises:
            ToolError: Always.
        """
        raise ToolError(f"the tool {self._spec.name!r} cannot be called: {self.missing_setting}", retryable=False)


def load_tool(server: McpServer, name: str) -> BaseTool:
    """Return a tool of a server, which is asked for its tools once.

    Args:
        server: The server.
        name: The tool, as the server calls it.
    """
    if MISSING or any(source.lack for source in server.key_sources):
        return UnusableTool(server, name, None)
    try:
        served = catalog(server)
    except ToolError as error:
        return UnusableTool(server, name, f"{SETTING}: {error}")
    if name not in served:
        hint = did_you_mean(name, served) or f"; it has {', '.join(sorted(served)[:50]) or 'none'}"
        return UnusableTool(server, name, f"{SETTING}: the MCP server {server.name!r} has no tool {name!r}{hint}")
    problems = schema_problems(served[name].input_schema)
    if problems:
        reason = f"the schema of its inputs has a problem: {problems[0]}"
        return UnusableTool(server, name, f"{SETTING}: {reason}; leave it out, or mend the server")
    return McpTool(server, name, served[name])


@lru_cache(maxsize=64)
def catalog(server: McpServer) -> Mapping[str, ServedTool]:
    """Return the tools of a server, asked on another thread: plans are also checked within a running event loop."""
    from vibe_prefect.tools.mcp.client import served_tools

    with ThreadPoolExecutor(max_workers=1) as threads:
        return threads.submit(asyncio.run, served_tools(server, min(server.seconds, CHECK_SECONDS))).result()


def _spec(server: McpServer, name: str, served: ServedTool | None) -> ToolSpec:
    data = served.output_schema if served else None
    properties: dict[str, Any] = {
        "text": {"type": "string"},
        "data": {"$id": "urn:vibe-prefect:data", **_plain(data)} if data and not schema_problems(data) else {},
        "files": {"type": "array", "items": _FILE_REF},
        "links": {"type": "array", "items": {"type": "string"}},
    }
    return ToolSpec(
        server.tool_name(name),
        served.description if served else f"Tool of the MCP server {server.name!r}.",
        ToolCategory.UTILITY,
        _plain(served.input_schema) if served else {"type": "object"},
        {"type": "object", "properties": properties, "additionalProperties": False},
    )


def _plain(schema: Any) -> Any:
    """Return a schema without the formats that mean something to this package alone."""
    if isinstance(schema, dict):
        rules = cast("dict[str, Any]", schema)
        return {key: _plain(rule) for key, rule in rules.items() if key != "format" or str(rule) not in FORMATS}
    return [_plain(rule) for rule in cast("list[Any]", schema)] if isinstance(schema, list) else schema


class _FilesOfCall:
    """Writes the files of one call into the folder of its node."""

    def __init__(self, tool: str, version: str, context: ToolContext) -> None:
        self._tool, self._version, self._context = tool, version, context
        variation = context.get("variation")
        self._folder = f"mcp/{context.get('node_id', 'node')}{f'-{variation}' if variation else ''}"

    def write(self, name: str, content: bytes, mime: str) -> FileRef:
        """Write a file, with its provenance."""
        workspace = workspace_of(self._context, self._tool)
        workspace.claim_folder(self._folder)
        facts = provenance_of(self._context, self._tool, self._version)
        return write_with_provenance(workspace, f"{self._folder}/{name}", content, mime, facts)
