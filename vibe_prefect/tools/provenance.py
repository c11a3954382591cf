"""Provenance of a file, written into it or beside it: plan, node, key and tool.

A PNG carries it in a text chunk; any other file has a sidecar, `<file>.provenance.json`, and so has a PNG with Content
Credentials, whose signature covers its bytes. No moment and no secret is in it, so the same work gives the same bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from vibe_prefect.errors import ToolError
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.secrecy.credentials import has_credentials
from vibe_prefect.tools.secrecy.known import file_holds_secret
from vibe_prefect.tools.workspace import FileRef, Workspace

KEYWORD = "vibe_prefect"
"""The keyword of the PNG text chunk."""

SIDECAR = ".provenance.json"
"""Suffix that a sidecar's name adds to the file's."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Provenance = Mapping[str, str]
"""`plan`, `node`, `key`, `tool`, `version`, and what else the tool says, such as `model`."""


def provenance_of(context: ToolContext, tool: str, version: str, **facts: str) -> Provenance:
    """Return a file's provenance, without the facts that the context lacks.

    Args:
        context: What the tool knows about its node.
        tool: The tool's name.
        version: The tool's version.
        facts: What else to say. Never a secret: it stands in the file for all to read.
    """
    stated = {"plan": context.get("plan_id"), "node": context.get("node_id"), "key": context.get("key")}
    present = {name: value for name, value in stated.items() if value}
    return {**present, "tool": tool, "version": version, **facts}


def claim_with_sidecar(workspace: Workspace, path: str) -> None:
    """Make the node the owner of a file and of its sidecar, before anything is paid for the file.

    Raises:
        OutsideRootError: The path leaves the output folder.
        PathTakenError: Another node of the run owns one of them.
    """
    workspace.claim(path)
    workspace.claim(f"{path}{SIDECAR}")


def write_with_provenance(
    workspace: Workspace, path: str, content: bytes, mime: str | None, provenance: Provenance
) -> FileRef:
    """Write a file that carries its provenance: within for a PNG, beside it for any other and for what is signed.

    Raises:
        OutsideRootError: The path leaves the output folder.
        PathTakenError: Another node of the run owns the path.
        OSError: The file could not be written.
        ToolError: What begins as a PNG is not a whole one, or the content holds a key.
    """
    _check_content(content)
    if content.startswith(PNG_SIGNATURE) and not has_credentials(content):
        return workspace.write(path, stamped(content, provenance), mime)
    return write_beside(workspace, path, content, mime, provenance)


def write_beside(workspace: Workspace, path: str, content: bytes, mime: str | None, provenance: Provenance) -> FileRef:
    """Write a file as it is, and its provenance beside it.

    Raises:
        OutsideRootError: The path leaves the output folder.
        PathTakenError: Another node of the run owns the path.
        OSError: The file could not be written.
        ToolError: The content holds a key.
    """
    _check_content(content)
    claim_with_sidecar(workspace, path)
    ref = workspace.write(path, content, mime)
    facts = {**provenance, "sha256": ref["sha256"]}
    if has_credentials(content):
        facts["content_credentials"] = "c2pa"
    workspace.write(f"{path}{SIDECAR}", f"{json.dumps(facts, indent=2, sort_keys=True)}\n".encode(), "application/json")
    return ref


def _check_content(content: bytes) -> None:
    if file_holds_secret(content):
        raise ToolError("the file was not written: it holds a key, or another secret of this process", retryable=False)


def stamped(png: bytes, provenance: Provenance) -> bytes:
    """Return a PNG with its provenance in an `iTXt` chunk behind the header; an earlier one of ours is replaced.

    Raises:
        ToolError: The bytes are not a whole PNG.
    """
    header, *others = _chunks(png)
    others_kept = [chunk for kind, chunk in others if not _is_ours(kind, chunk)]
    return b"".join([PNG_SIGNATURE, header[1], _text_chunk(provenance), *others_kept])


def read_stamp(file: bytes | Path) -> dict[str, str] | None:
    """Return a file's provenance, if it has one.

    Args:
        file: The file, whose sidecar counts before what is in it; or the bytes of a PNG.

    Raises:
        ToolError: The bytes are not a whole PNG, or the sidecar holds something else.
        OSError: There is no such file.
    """
    if isinstance(file, bytes):
        return _stamp_in(file)
    sidecar = file.with_name(f"{file.name}{SIDECAR}")
    if not sidecar.exists():
        content = file.read_bytes()
        return _stamp_in(content) if content.startswith(PNG_SIGNATURE) else None
    try:
        facts = json.loads(sidecar.read_bytes())
    except ValueError as error:
        raise ToolError(f"{sidecar} holds no provenance: {error}", retryable=False) from error
    return cast("dict[str, str]", facts)


def _stamp_in(png: bytes) -> dict[str, str] | None:
    for kind, chunk in _chunks(png):
        if _is_ours(kind, chunk):
            text = chunk[8:-4].split(b"\0", 5)[-1]
            return cast("dict[str, str]", json.loads(text))
    return None


def _text_chunk(provenance: Provenance) -> bytes:
    """Return an `iTXt` chunk: keyword, not compressed, no language; PNG specification, section 11.3.3.4."""
    text = json.dumps(dict(provenance), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    body = b"iTXt" + KEYWORD.encode() + b"\0\0\0\0\0" + text.encode(errors="replace")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _is_ours(kind: bytes, chunk: bytes) -> bool:
    return kind == b"iTXt" and chunk[8:].startswith(KEYWORD.encode() + b"\0")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's kind and bytes, from the header to the end mark; what follows that is dropped."""
    if not png.startswith(PNG_SIGNATURE):
        raise _damaged("it does not begin as one")
    offset = len(PNG_SIGNATURE)
    kind: Any = None
    while kind != b"IEND":
        if offset + 12 > len(png):
            raise _damaged("it ends too early")
        length = int.from_bytes(png[offset : offset + 4])
        kind, end = png[offset + 4 : offset + 8], offset + 12 + length
        if end > len(png) or zlib.crc32(png[offset + 4 : end - 4]) != int.from_bytes(png[end - 4 : end]):
            raise _damaged(f"its chunk {kind!r} is cut or changed")
        yield kind, png[offset:end]
        offset = end


def _damaged(reason: str) -> ToolError:
    return ToolError(f"the image is not a whole PNG: {reason}")
