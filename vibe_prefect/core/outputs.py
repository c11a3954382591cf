"""Outputs of a node as a report shows them: its files, and its output as text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from vibe_prefect.text.encodings import is_well_formed

MAX_PREVIEW = 4_000
"""Characters of a text that a report keeps, such as a quote or an error."""

MAX_OUTPUT = 50_000
"""Characters of one output that a report keeps."""

MAX_BEGINNING = 20_000
"""Characters of data that are written out for a look at their beginning."""

MAX_FILES = 200
"""Files of one node that a report names."""

MAX_VISITED = 20_000
"""Values of one output that are searched for files."""

MAX_DEPTH = 32
"""Levels of one output that are searched."""

FILE_KEYS = ("path", "mime", "sha256", "bytes")
"""Keys of a reference to a file, see `vibe_prefect.tools.workspace.FileRef`."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a node made."""

    path: str
    """Relative to the run's output folder, or a URL."""

    mime: str
    """Media type, such as `image/png`."""

    sha256: str | None
    """Hash of the content, hexadecimal; `None` when unknown."""

    bytes: int | None
    """Size of the content; `None` when unknown."""


def output_files(output: Any, *, everywhere: bool = False) -> tuple[OutputFile, ...]:
    """Return the files that an output refers to, each once, in the order in which they stand in it.

    Args:
        output: JSON data; a reference is a mapping with `path`, `mime`, `sha256` and `bytes`, at any place in it.
        everywhere: Whether all of the output is searched, however large it is, rather than the part for a report.
    """
    most, visited, depth = (sys.maxsize,) * 3 if everywhere else (MAX_FILES, MAX_VISITED, MAX_DEPTH)
    files: dict[OutputFile, None] = {}
    for mapping in _mappings(output, visited, depth):
        file = _file(mapping)
        if file is not None:
            files[file] = None
        if len(files) == most:
            break
    return tuple(files)


def bytes_of(output: Any) -> int | None:
    """Return the bytes of the files that an output refers to, each path once; `None` where a size is unknown."""
    sizes = {file.path: file.bytes for file in output_files(output)}
    known_sizes = [size for size in sizes.values() if size is not None]
    return sum(known_sizes) if len(known_sizes) == len(sizes) else None


def preview_of(output: Any, most: int = MAX_OUTPUT) -> str | None:
    """Return an output as text, cut; `None` when there is nothing to read.

    An output with a `text` gives that text; references to files give nothing, since reports list the files.

    Args:
        output: JSON data.
        most: Largest number of characters.
    """
    if output is None or _only_files(output):
        return None
    text = _text(output)
    return None if not text or text.isspace() else cut(text, most)


def cut(text: str, most: int) -> str:
    """Return well-formed text, cut to that many characters, with a note of what was cut."""
    beginning = text[:most].encode("utf-8", "replace").decode()
    missing = len(text) - most
    return (
        beginning if missing <= 0 else f"{beginning}\n[... {missing:,} more character{'s' if missing != 1 else ''} cut]"
    )


def cut_middle(text: str, most: int) -> str:
    """Return well-formed text with two thirds of that many characters from its beginning and a third from its end.

    A note between them says how many are left out.
    """
    if len(text) <= most:
        return text if is_well_formed(text) else text.encode("utf-8", "replace").decode()
    end = most // 3
    beginning = text[: most - end].encode("utf-8", "replace").decode()
    ending = text[len(text) - end :].encode("utf-8", "replace").decode()
    return f"{beginning}\n[... {len(text) - most:,} more characters ...]\n{ending}"


def beginning_of(value: Any, most: int = MAX_BEGINNING) -> str:
    """Return the first characters of `str(value)` without writing out all of a large value.

    Args:
        value: Data.
        most: Number of characters, `MAX_BEGINNING` at most.
    """
    return str(_beginning(value, _Room()))[:most]


class _Room:
    """Room for the beginning of data."""

    left = MAX_BEGINNING


def _beginning(value: Any, room: _Room) -> Any:
    """Return data without what comes after the first `MAX_BEGINNING` characters."""
    if isinstance(value, str):
        part = value[: max(0, room.left)]
        room.left -= len(part)
        return part
    if isinstance(value, dict):
        facts = cast("dict[Any, Any]", value)
        return {key: _beginning(item, room) for key, item in islice(facts.items(), MAX_BEGINNING) if room.left > 0}
    if type(value) is list:
        items = islice(cast("list[Any]", value), MAX_BEGINNING)
        return [_beginning(item, room) for item in items if room.left > 0]
    return value


def bounded(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return JSON data with every text cut, and nothing below a depth, so that data from others fit into an event."""
    if isinstance(value, str):
        return cut(value, MAX_PREVIEW)
    if isinstance(value, Mapping):
        facts = cast("Mapping[str, Any]", value)
        return {cut(str(key), 200): bounded(item, depth - 1) for key, item in facts.items()} if depth else "..."
    if isinstance(value, list | tuple):
        return [bounded(item, depth - 1) for item in cast("Sequence[Any]", value)] if depth else "..."
    return value


def _only_files(output: Any) -> bool:
    listed: list[Any] = output if isinstance(output, list) else []  # pyright: ignore[reportUnknownVariableType]
    parts = listed or [output]
    return all(isinstance(part, Mapping) and _file(cast("Mapping[str, Any]", part)) is not None for part in parts)


def _text(output: Any) -> str:
    if isinstance(output, str):
        return output
    if isinstance(output, Mapping):
        text = cast("Mapping[str, Any]", output).get("text")
        if isinstance(text, str):
            return text
    return json.dumps(output, indent=2, ensure_ascii=False, default=str)


def _mappings(output: Any, visited: int, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings in an output in order, among the first `visited` values and down to `depth` levels."""
    stack: list[tuple[Any, int]] = [(output, depth)]
    for _ in range(visited):
        if not stack:
            return
        value, levels = stack.pop()
        if isinstance(value, Mapping):
            mapping = cast("Mapping[str, Any]", value)
            yield mapping
            values: Sequence[Any] = list(mapping.values())
        else:
            values = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
        if levels:
            stack.extend((part, levels - 1) for part in reversed(values[:visited]))


def _file(mapping: Mapping[str, Any]) -> OutputFile | None:
    if any(key not in mapping for key in FILE_KEYS):
        return None
    path, mime, sha256, size = (mapping[key] for key in FILE_KEYS)
    if not isinstance(path, str) or not isinstance(mime, str):
        return None
    has_size = isinstance(size, int) and not isinstance(size, bool)
    return OutputFile(
        cut(path, 1_000), cut(mime, 100), sha256 if isinstance(sha256, str) else None, size if has_size else None
    )
