"""The text of a plan file, YAML or JSON, as data and the places of its values.

A text that is JSON is read as JSON whatever its name, any other as YAML; both obey the same rules. Only text, numbers,
booleans and null come out, so a date stays the text that was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic_core import from_json

from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import PlanError, Position, Problem
from vibe_prefect.plan.reading.source_text import (
    TOO_DEEP,
    Fault,
    TextError,
    compose_json,
    compose_yaml,
    read_tree,
)
from vibe_prefect.text.encodings import marked_codec
from vibe_prefect.text.regular_files import read_regular

MAX_FILE_BYTES = 50_000_000
"""The largest plan file that is read."""


@dataclass(frozen=True)
class PlanFile:
    """A plan's text and data."""

    name: str
    """The path as it was given."""

    text: str
    """Its content; empty where there are data without a text."""

    data: Any = field(repr=False)
    """Its content as plain data."""

    form: Literal["json", "yaml", "text"] = "yaml"
    """Format of the text; `text` is one value as it stands."""

    faults: tuple[Fault, ...] = ()
    """Values that could not be read as they stand."""

    parts: Mapping[DataPath, PartPlace] = field(default_factory=dict[DataPath, "PartPlace"])
    """Values that stand in other files, by their paths within the data."""

    problems: tuple[Problem, ...] = ()
    """Problems of these files."""

    def position(self, path: DataPath) -> Position | None:
        """Return where the value at a path stands, or the nearest value around it; `None` without a text.

        Args:
            path: The path; below a text that is a file of its own, a line and a column within the text, from 0.
        """
        for end in range(len(path), 0, -1) if self.parts else ():
            if part := self.parts.get(path[:end]):
                return part.source.position((*part.path, *path[end:]))
        if self.form == "text":
            line, column = (*path, 0, 0)[:2]
            return Position(self.name, int(line) + 1, int(column) + 1)
        if not self.text:
            return None
        places = self._places
        while path and path not in places:
            path = path[:-1]
        line, column = places.get(path, (0, 0))
        return Position(self.name, line + 1, column + 1)

    def position_of(self, fault: Fault) -> Position | None:
        """Return where a value stands that could not be read."""
        at = fault.at
        return self.position(fault.path) if at is None else Position(self.name, at[0] + 1, at[1] + 1)

    @cached_property
    def _places(self) -> Mapping[DataPath, tuple[int, int]]:
        return read_tree(compose_json(self.text) if self.form == "json" else compose_yaml(self.text)).places


@dataclass(frozen=True)
class PartPlace:
    """Place of a value in another file."""

    source: PlanFile
    """The file."""

    path: DataPath = ()
    """Path within its data."""


def read_source(name: str, text: str) -> PlanFile:
    """Read a text, YAML or JSON, as data and their places; see `read_plan` for arguments and errors."""
    text = text.removeprefix("\ufeff")
    try:
        return _json_file(name, text) or _yaml_file(name, text)
    except TextError as error:
        position = None if error.line is None else Position(name, error.line + 1, error.column + 1)
        raise PlanError([Problem(error.message, None, None, position, error.hint)], name) from None
    except RecursionError:
        raise file_error(name, TOO_DEEP) from None


def is_regular(data: Any) -> bool:
    """Tell whether JSON holds data as they are: numbers of 64 bits, finite, no half characters, not too deep."""
    try:
        encoded = orjson.dumps(data)
        from_json(encoded)  # takes `MAX_DEPTH` levels
    except (TypeError, ValueError):
        return False
    return b"null" not in encoded or orjson.loads(encoded) == data  # what is not finite is written as null


def _json_file(name: str, text: str) -> PlanFile | None:
    """Read a JSON text; `None` where the text is not JSON and need not be."""
    required = name.endswith(".json")
    if not required and not text.lstrip().startswith("{"):
        return None
    ambiguous: list[object] = []

    def paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            ambiguous.append(mapping)
        return mapping

    try:
        data = json.loads(text, object_pairs_hook=paired)
    except ValueError as error:
        if required:
            raise _not_json(text, error) from None
        return None
    if not ambiguous and is_regular(data):
        return PlanFile(name, text, data, "json")
    tree = read_tree(compose_json(text))
    return PlanFile(name, text, tree.data, "json", tree.faults)


def _not_json(text: str, error: ValueError) -> TextError:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as found:  # its words are plainer
        return TextError(f"not JSON: {found.msg}", found.lineno - 1, found.colno - 1)
    return TextError(f"not JSON: {error}")


def _yaml_file(name: str, text: str) -> PlanFile:
    tree = read_tree(compose_yaml(text))
    return PlanFile(name, text, tree.data, "yaml", tree.faults)


def read_text(path: Path, name: str) -> str:
    """Return the text of a plan file: UTF-8, or what its byte order mark says.

    Raises:
        PlanError: It cannot be read, is too large, or is not text.
    """
    try:
        content = read_regular(path, MAX_FILE_BYTES)
        if len(content) > MAX_FILE_BYTES:
            raise file_error(name, f"{path.stat().st_size:,} bytes; a plan file holds at most {MAX_FILE_BYTES:,}")
        text = content.decode(marked_codec(content[:4]) or "utf-8").removeprefix("\ufeff")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        bad_byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise file_error(name, f"not {error.encoding.upper()} text: {bad_byte}") from None
    except OSError as error:
        raise file_error(name, f"cannot be read: {error.strerror or error}") from None


def file_error(name: str, message: str) -> PlanError:
    """Build the error for a file that cannot be read as a whole."""
    return PlanError([Problem(message, None, None, None)], name)
