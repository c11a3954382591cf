"""The log of one run's checkpoints: holds their common parts, written once.

A run that writes a checkpoint every few nodes would rewrite its plan and all results each time. So these are written to
one log that only grows, a JSON object a line, and each checkpoint is a small head: it names the log, the number of
bytes in it that belong to the checkpoint, and their hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

from vibe_prefect.checkpoints.data import from_text, node_data, plan_data, to_text
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import shorten
from vibe_prefect.results import NodeResult
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.workspace import replace_file

LOG_SUFFIX = ".log"

MAX_BYTES = 1_000_000_000
"""The largest checkpoint, and the largest log, that is read."""

HEAD_BYTES = 4096
"""Largest size of a head; a larger file is a complete checkpoint."""


class LogPart(BaseModel):
    """The part of a log that belongs to a checkpoint, as the head states it."""

    file: str
    """Name of the log, in the same folder."""

    bytes: int = Field(ge=0, le=MAX_BYTES)
    """Number of bytes from its beginning."""

    sha256: str
    """Their hash, hexadecimal."""

    @field_validator("file")
    @classmethod
    def _is_beside(cls, name: str) -> str:
        if Path(name).name != name or not name.endswith(LOG_SUFFIX):
            raise ValueError(f"its log is {shorten(name)}: expected the name of a file *{LOG_SUFFIX} beside it")
        return name


class CheckpointLog:
    """A log that one run writes."""

    def __init__(self, path: Path, lines: Iterable[bytes]) -> None:
        """Make a log; nothing is written before `write`.

        Args:
            path: Its path.
            lines: Its first lines.
        """
        self._path = path
        self._pending = list(lines)
        self._size = 0
        self._hash = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Add a line that the next `write` writes."""
        self._pending.append(line)

    def write(self) -> LogPart:
        """Write the added lines, and return all of the log so far.

        Raises:
            FileNotFoundError: Somebody deleted the log.
            OSError: It cannot be written; the added lines are still to be written.
        """
        content = b"".join(self._pending)
        if self._size == 0:
            replace_file(self._path, content)
        else:
            self._append(content)
        self._size += len(content)
        self._hash.update(content)
        self._pending.clear()
        return LogPart(file=self._path.name, bytes=self._size, sha256=self._hash.hexdigest())

    def _append(self, content: bytes) -> None:
        with self._path.open("r+b") as file:
            file.truncate(self._size)  # what a write that failed left behind
            file.seek(self._size)
            file.write(content)


def plan_line(plan: WorkflowPlan, groups: Iterable[Iterable[str]]) -> bytes:
    """Return the line about a plan and its groups; every log begins with it."""
    return _line({"plan": plan_data(plan), "execution_groups": [list(group) for group in groups]})


def node_line(result: NodeResult, key: str | None) -> bytes:
    """Return the line about a node that has finished, with its content key where it completed."""
    return _line({"node": node_data(result), **({"key": key} if key else {})})


def feedback_line(node_id: str, feedback: Mapping[str, Any]) -> bytes:
    """Return the line with the feedback about a node."""
    return _line({"feedback": feedback, "id": node_id})


def suggestion_line(suggestion: Mapping[str, Any]) -> bytes:
    """Return the line with a suggestion for a planner."""
    return _line({"suggestion": suggestion})


def unfold(head: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the whole checkpoint of a head.

    Raises:
        ValueError: The log is missing, cut off or changed.
    """
    part = LogPart.model_validate(head["log"])
    try:
        content = read_regular(folder / part.file, part.bytes)[: part.bytes]
    except FileNotFoundError:
        raise ValueError(f"its log {part.file} is missing; copy it along with the checkpoint") from None
    if len(content) < part.bytes:
        raise ValueError(f"its log {part.file} has {len(content)} of the {part.bytes} bytes that belong to it")
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise ValueError(f"its log {part.file} was changed")
    return _folded(head, content.splitlines())


def has_log(head: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a head's log is there, and long enough."""
    part = LogPart.model_validate(head["log"])
    path = folder / part.file
    return path.is_file() and path.stat().st_size >= part.bytes


def log_of(path: Path) -> Path | None:
    """Return the log of a checkpoint's file; `None` for a complete or an unreadable checkpoint."""
    try:
        if path.stat().st_size > HEAD_BYTES:
            return None
        head = from_text(read_regular(path, HEAD_BYTES))
        return path.parent / LogPart.model_validate(head["log"]).file
    except (OSError, ValueError, KeyError):
        return None


def _line(data: Mapping[str, Any]) -> bytes:
    return to_text(data) + b"\n"


def _folded(head: Mapping[str, Any], lines: list[bytes]) -> dict[str, Any]:
    plan_part = from_text(lines[0])
    nodes: dict[str, Any] = {}
    keys: dict[str, str] = {}
    feedback: dict[str, Any] = {}
    suggestions: list[Any] = []
    for line in lines[1:]:
        match from_text(line):
            case {"node": {"node_id": str(id)} as node, **rest}:
                nodes[id] = node
                keys |= {id: str(rest["key"])} if "key" in rest else {}
            case {"feedback": found, "id": str(id)}:
                feedback[id] = found
            case {"suggestion": found}:
                suggestions.append(found)
            case other:
                raise ValueError(f"expected a part of a checkpoint, found {shorten(other)}")
    learned = {"feedback_data": feedback, "replan_suggestions": suggestions}
    groups = plan_part["execution_groups"]
    result = {**head["execution_result"], "node_results": nodes, "execution_groups": groups, **learned}
    return {**head, "plan": plan_part["plan"], "execution_result": result, "node_keys": keys}
