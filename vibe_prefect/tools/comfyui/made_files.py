"""Files and texts that a workflow has made, from ComfyUI's history."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.tools.comfyui.endpoint import Workflow

TEXT = "text"
"""Key of the texts that a node shows."""

ANIMATED = "animated"
"""Key under which a node that saves images only says whether they move."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_MODEL = re.compile(
    r"(?P<path>(?![/\\~]|[A-Za-z]:)[^\n]{1,500}\.(?:glb|gltf|obj|fbx|stl|ply|usdz|spz|splat|ksplat))"
    r"(?: \[(?P<kind>output|temp|input)\])?",
    re.IGNORECASE,
)
"""A 3D file below one of the server's folders: nodes name it as plain text."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that a workflow saved, on the server."""

    node: str
    """The id of the workflow's node that saved it."""

    name: str
    """Its name there."""

    subfolder: str
    """Its folder there."""

    kind: str
    """Whether it is an `output`, an `input` or `temp`."""

    @property
    def suffix(self) -> str:
        """Suffix of its name if it is a plain one, else `.bin`: nothing else of the name becomes part of a path."""
        dot, end = self.name.rpartition(".")[1:]
        suffix = f"{dot}{end}".lower()
        return suffix if _SUFFIX.fullmatch(suffix) else ".bin"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a workflow's nodes, in the workflow's order."""

    files: tuple[SavedFile, ...]
    """The files, each once for its node."""

    texts: Mapping[str, list[str]]
    """The texts, numbers and truth values that nodes show, by node."""

    def of(self, wanted: Collection[str] | None) -> Outputs:
        """Return what is wanted.

        Args:
            wanted: Ids of the nodes whose outputs count, previews included; `None` for all that was saved, and texts.
        """
        if wanted is None:
            return Outputs(tuple(file for file in self.files if file.kind == "output"), self.texts)
        texts = {node: texts for node, texts in self.texts.items() if node in wanted}
        return Outputs(tuple(file for file in self.files if file.node in wanted), texts)

    @property
    def nodes(self) -> frozenset[str]:
        """The ids of the nodes that made something."""
        return frozenset([*(file.node for file in self.files), *self.texts])


def read_outputs(entry: Mapping[str, Any], workflow: Workflow) -> Outputs:
    """Read a history entry.

    Args:
        entry: The entry, as the server answers.
        workflow: The workflow. A node that unfolds into others while it runs answers for what those make.
    """
    by_node: dict[str, list[dict[str, Any]]] = {node: [] for node in workflow}
    meta = _mapping(entry.get("meta"))
    for id, output in _mapping(entry.get("outputs")).items():
        owner = str(_mapping(meta.get(id)).get("display_node") or id)
        by_node.setdefault(owner if owner in workflow else id, []).append(_mapping(output))
    files = (file for node, outputs in by_node.items() for output in outputs for file in _files(node, output))
    texts_by_node = {node: [text for output in outputs for text in _texts(output)] for node, outputs in by_node.items()}
    return Outputs(tuple(dict.fromkeys(files)), {node: texts for node, texts in texts_by_node.items() if texts})


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _entries(value: object) -> Iterator[Any]:
    """Yield what is in a list, and in lists in it: outputs of a batch."""
    if isinstance(value, list):
        for entry in cast("list[Any]", value):
            yield from _entries(entry)
    else:
        yield value


def _files(node: str, output: Mapping[str, Any]) -> Iterator[SavedFile]:
    """Yield files: `{"images": [{"filename": ..., "subfolder": ..., "type": ...}]}`, `{"result": ["3d/a.glb"]}`."""
    for name, value in output.items():
        for entry in _entries(value):
            if isinstance(entry, dict):
                yield from _stated_file(node, cast("dict[str, Any]", entry))
            elif isinstance(entry, str) and name != TEXT and (match := _MODEL.fullmatch(entry)):
                folder, _, file = match["path"].replace("\\", "/").rpartition("/")
                yield SavedFile(node, file, folder, (match["kind"] or "output").lower())


def _stated_file(node: str, entry: Mapping[str, Any]) -> Iterator[SavedFile]:
    name = entry.get("filename")
    if isinstance(name, str) and name:
        yield SavedFile(node, name, str(entry.get("subfolder") or ""), str(entry.get("type") or "output"))


def _texts(output: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a node shows: its texts, and numbers and truth values under any name as JSON writes them."""
    for name, value in output.items():
        for entry in _entries(value) if name != ANIMATED else ():
            if name == TEXT and isinstance(entry, str) and entry.strip():
                yield entry
            elif isinstance(entry, int | float):
                yield json.dumps(entry)
