"""Material for a node on a model: the texts of its dependencies, and which of their files the model cannot see.

A model here reads text alone. A picture is never passed as the JSON of its reference: a model would judge the file's
name, and invent the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.errors import ToolError
from vibe_prefect.text.encodings import EncodingError, decode_text, is_text_type
from vibe_prefect.tools.base import Dependency, Tool, ToolCategory, ToolContext
from vibe_prefect.tools.workspace import FileRef, Workspace, is_file_ref

OWN_PARAMETERS = "this node's parameters"
"""The name under which a model is given what a node's parameters hold besides `tool` and `tool_inputs`."""

MAX_FILE = 1_000_000
"""Bytes of a text file that are read, at most."""

_KINDS = {"image": "a picture", "audio": "a sound", "video": "a video"}
_MEDIA = {ToolCategory.IMAGE: "a picture", ToolCategory.AUDIO: "a sound", ToolCategory.VIDEO: "a video"}
_FILE_FIELDS = frozenset({"path", "mime", "sha256", "bytes"})


@dataclass(frozen=True, slots=True)
class Given:
    """Outputs of a node's dependencies that a model can read, and those that it cannot."""

    texts: Mapping[str, str]
    """Texts by the ids of the dependencies."""

    unseen: Mapping[str, str]
    """Kinds of the other dependencies' outputs, such as `a picture`, by their ids."""

    def check(self) -> None:
        """Refuse to ask a model about files alone.

        Raises:
            ToolError: There are files and no text; final.
        """
        if self.unseen and not self.texts:
            raise ToolError(unseen_message(self.unseen), retryable=False)


def given_by(outputs: Mapping[str, Any], workspace: Workspace | None = None) -> Given:
    """Return what the outputs of dependencies say: their `text` where they have one, else the output as JSON.

    Of a text file that a node wrote, the content is its text. Other files are left out.

    Args:
        outputs: The outputs by the ids of the dependencies.
        workspace: Where the files are; without one, no file is read.

    Raises:
        ToolError: A text file is gone, too large, or in an encoding that it does not declare.
    """
    texts: dict[str, str] = {}
    unseen: dict[str, str] = {}
    for id, output in outputs.items():
        if output in (None, "", {}, []):
            continue
        text = _text_of(output, workspace)
        if text is None:
            unseen[id] = _kind(output)
        else:
            texts[id] = text
    return Given(texts, unseen)


def given_to(context: ToolContext) -> Given:
    """Return what a node's dependencies give it."""
    return given_by(context.get("previous_outputs", {}), context.get("workspace"))


def own_parameters(context: ToolContext) -> dict[str, str]:
    """Return a node's own parameters as material; empty where it has none."""
    parameters = context.get("parameters")
    return {OWN_PARAMETERS: json.dumps(parameters, ensure_ascii=False)} if parameters else {}


def unseen_message(unseen: Mapping[str, str]) -> str:
    """Return the message that names the dependencies that a model cannot see, and what to do."""
    outputs = " and ".join(f"{id!r} made {kind} and no text" for id, kind in unseen.items())
    pronoun = "it" if len(unseen) == 1 else "them"
    return (
        f"{outputs}; the model cannot see {pronoun}: let the node depend on a text that says what is in {pronoun}, "
        f"check {pronoun} with a tool such as check_image or check_audio, or set `dependencies: false` in a "
        f"generating node that does not need {pronoun}"
    )


def nothing_to_read(dependencies: Mapping[str, Dependency], *, judges: bool) -> str | None:
    """Return why a model could read nothing of what a node depends on, where that is certain before the run.

    Args:
        dependencies: What is known of the dependencies, by id.
        judges: Whether the model is to judge: a node that writes may depend on a composite for the order alone.
    """
    kinds = {id: _stated_kind(dependency.tool) for id, dependency in dependencies.items()}
    unseen = {id: kind for id, kind in kinds.items() if kind is not None}
    composites = [id for id, dependency in dependencies.items() if dependency.is_composite] if judges else []
    if not dependencies or len(unseen) + len(composites) < len(dependencies):
        return None
    if unseen:
        return unseen_message(unseen)
    quoted_ids = " and ".join(map(repr, composites))
    return f"there is nothing to judge: {quoted_ids} only holds other nodes; depend on those whose texts are meant"


def _stated_kind(maker: Tool | None) -> str | None:
    """Return what a tool says that it makes, where that is a media file and no text; else `None`."""
    if maker is None or not _is_file_schema(maker.spec.output_schema):
        return None
    return _MEDIA.get(maker.spec.category)


def _is_file_schema(schema: Mapping[str, Any]) -> bool:
    fields = cast("Mapping[str, Any]", schema.get("properties", {}))
    return fields.keys() >= _FILE_FIELDS and "text" not in fields


def _text_of(output: Any, workspace: Workspace | None) -> str | None:
    """Return an output's text; `None` where it is nothing but files that are no text."""
    if isinstance(output, str):
        return output
    facts = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
    if isinstance(text := facts.get("text"), str):
        return text
    if is_file_ref(facts) and is_text_type(facts["mime"]) and workspace is not None:
        return _content(facts, workspace)
    data = _without_files(output)
    return None if data is _NOTHING else json.dumps(data, ensure_ascii=False, indent=1, default=str)


def _content(file: FileRef, workspace: Workspace) -> str:
    path = workspace.made(file["path"])
    if path.stat().st_size > MAX_FILE:
        reason = f"{file['path']!r} is larger than the {MAX_FILE:,} bytes that a model may read of a file"
        raise ToolError(reason, retryable=False)
    try:
        return decode_text(path.read_bytes(), "the model", file["path"], mime=file["mime"])
    except EncodingError as error:
        raise ToolError(str(error), retryable=False) from error


_NOTHING = object()


def _without_files(output: Any) -> Any:
    """Return JSON data without the references to files in it; `_NOTHING` where it holds nothing else."""
    if is_file_ref(output):
        return _NOTHING
    if isinstance(output, dict):
        facts = cast("dict[str, Any]", output)
        fields: dict[str, Any] = {name: _without_files(value) for name, value in facts.items()}
        fields = {name: value for name, value in fields.items() if value is not _NOTHING}
        return fields if fields or not facts else _NOTHING
    if isinstance(output, list | tuple):
        values = cast("list[Any]", output)
        items = [item for item in map(_without_files, values) if item is not _NOTHING]
        return items if items or not values else _NOTHING
    return output


def _kind(output: Any) -> str:
    files = _files(output)
    kinds = {_KINDS.get(file["mime"].partition("/")[0], f"a file ({file['mime']})") for file in files}
    return next(iter(kinds)) if len(kinds) == 1 and len(files) == 1 else f"{len(files)} files"


def _files(output: Any) -> list[FileRef]:
    if is_file_ref(output):
        return [output]
    values: list[Any] = []
    if isinstance(output, dict):
        values = list(cast("dict[str, Any]", output).values())
    elif isinstance(output, list | tuple):
        values = list(cast("list[Any]", output))
    return [file for value in values for file in _files(value)]
