"""The answer of an MCP server as a tool's output: texts, structured data, and files in the workspace.

It is material: it names no tool, reaches no address, and writes nowhere but below the node's own folder.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from typing_extensions import TypedDict

from vibe_prefect.errors import ToolError, printable
from vibe_prefect.tools.secrecy.known import scrubbed
from vibe_prefect.tools.secrecy.redaction import scrubbed_data
from vibe_prefect.tools.workspace import FileRef

MAX_PARTS = 1_000
"""Parts of an answer, such as texts and pictures, at most."""

MAX_REASON = 2_000
"""Characters of the text with which a server says that a call failed."""

_MIME = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
_UNKNOWN = "application/octet-stream"

WriteFile = Callable[[str, bytes, str], FileRef]
"""Writes a file: name, content, media type."""


class McpOutput(TypedDict, total=False):
    """Output of a tool of an MCP server."""

    text: str
    """All texts, with a blank line between each; missing where there are none."""

    data: Any
    """The structured content; missing where the tool has none."""

    files: list[FileRef]
    """Pictures, sounds and embedded resources, in the server's order; missing where there are none."""

    links: list[str]
    """Addresses of resources that the server names without sending them, none fetched; missing where there are none."""


@dataclass(slots=True)
class _Parts:
    texts: list[str] = field(default_factory=list[str])
    files: list[tuple[bytes, str]] = field(default_factory=list[tuple[bytes, str]])
    links: list[str] = field(default_factory=list[str])


def read_answer(tool: str, result: CallToolResult, write: WriteFile) -> McpOutput:
    """Return an answer as output, its files written.

    Args:
        tool: Name of the tool, for messages.
        result: The server's answer.
        write: Writes a file; called for each only once the whole answer is known to be sound.

    Raises:
        ToolError: The server says that the call failed, or what it sent is not what it says it is.
    """
    if len(result.content) > MAX_PARTS:
        found = f"the answer has {len(result.content):,} parts"
        raise ToolError(f"{tool}: {found}; at most {MAX_PARTS:,} are read", retryable=False)
    if result.is_error:
        reason = "\n\n".join(part.text for part in result.content if isinstance(part, TextContent))
        raise ToolError(f"{tool}: {printable(scrubbed(reason), MAX_REASON) or 'the server does not say why'}")
    parts = _parts(tool, result)
    output = McpOutput()
    if parts.texts:
        output["text"] = scrubbed("\n\n".join(parts.texts))
    if result.structured_content is not None:
        output["data"] = scrubbed_data(result.structured_content)
    if parts.files:
        files = enumerate(parts.files, start=1)
        output["files"] = [write(f"{number:03}{_suffix(mime)}", content, mime) for number, (content, mime) in files]
    if parts.links:
        output["links"] = [scrubbed(link) for link in parts.links]
    return output


def _parts(tool: str, result: CallToolResult) -> _Parts:
    parts = _Parts()
    for part in result.content:
        match part:
            case TextContent():
                parts.texts.append(part.text)
            case ImageContent() | AudioContent():
                parts.files.append((_decoded(tool, part.data), _mime(part.mime_type)))
            case EmbeddedResource():
                parts.files.append(_resource(tool, part.resource))
            case ResourceLink():
                parts.links.append(part.uri)
    return parts


def _resource(tool: str, resource: TextResourceContents | BlobResourceContents) -> tuple[bytes, str]:
    if isinstance(resource, TextResourceContents):
        return resource.text.encode(errors="replace"), _mime(resource.mime_type or "text/plain")
    return _decoded(tool, resource.blob), _mime(resource.mime_type or _UNKNOWN)


def _decoded(tool: str, data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolError(f"{tool}: the answer has a file that is not Base64: {error}") from error


def _mime(stated: str) -> str:
    """Return a media type without parameters; what is none counts as unknown bytes."""
    mime = stated.partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else _UNKNOWN


def _suffix(mime: str) -> str:
    """Return the ending of a file's name; some types are listed with `x-` alone, such as `audio/x-wav`."""
    types = (mime, mime.replace("/", "/x-", 1))
    return next(filter(None, (mimetypes.guess_extension(name, strict=False) for name in types)), ".bin")
