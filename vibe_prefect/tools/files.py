"""The tool that writes a file."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from vibe_prefect.tools.base import OutputPath, ToolCategory, ToolContext
from vibe_prefect.tools.functions import ToolInputError, tool
from vibe_prefect.tools.workspace import FileRef, Workspace


def workspace_of(context: ToolContext, name: str) -> Workspace:
    """Return the folders that a tool may use.

    Raises:
        ToolInputError: The tool was called without any, outside a run.
    """
    workspace = context.get("workspace")
    if workspace is None:
        raise ToolInputError(f"{name} needs a workspace: pass a context with `workspace`")
    return workspace


@tool(name="write_file", category=ToolCategory.UTILITY, version="1")
def write_file(
    path: Annotated[
        OutputPath,
        Field(
            min_length=1,
            max_length=1_000,
            description="Where to write, below the run's output folder, such as `posts/blog.md`. "
            "Folders are made; a file that no other node of the run has written is replaced.",
        ),
    ],
    content: Annotated[
        str | dict[str, Any] | list[Any],
        Field(description="Text, written as UTF-8, or data, written as indented JSON."),
    ],
    context: ToolContext,
    mime: Annotated[
        str | None,
        Field(
            pattern=r"^[\w.+-]+/[\w.+-]+(;.*)?$",
            description="Media type, such as `text/markdown`; by default told by the file's name.",
        ),
    ] = None,
) -> FileRef:
    """Write text or JSON to a file in the run's output folder.

    Raises:
        ToolInputError: The path names a folder, or the content is not Unicode text or JSON data.
        OutsideRootError: The path leaves the output folder.
        PathTakenError: Another node of the run has written the file.
        OSError: The file could not be written.
    """
    if path.endswith("/"):
        raise ToolInputError(f"write_file: path {path!r} names a folder; name a file in it")
    return workspace_of(context, "write_file").write(path, _encoded(content), mime)


def _encoded(content: str | dict[str, Any] | list[Any]) -> bytes:
    text = content if isinstance(content, str) else _json(content)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolInputError(f"write_file: content cannot be written as UTF-8: {error}") from error


def _json(content: dict[str, Any] | list[Any]) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolInputError(f"write_file: content is not JSON data: {error}") from error
