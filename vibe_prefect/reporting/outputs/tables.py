"""Form of an output's text: a table (CSV, or a list of objects in JSON, also where it was cut), code, or prose."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from vibe_prefect.core.outputs import OutputFile

MAX_ROWS = 50
"""Rows of a table that are shown."""

MAX_COLUMNS = 20
"""Columns of a table that are shown."""

MAX_CELL = 300
"""Characters of a cell that are shown."""

_DOCUMENT = re.compile(r"\s*(?:<!doctype\s|<html[\s>]|<svg[\s>]|<\?xml\s)", re.IGNORECASE)
_DECODER = json.JSONDecoder()
_DELIMITERS = {"text/csv": ",", "text/tab-separated-values": "\t"}


@dataclass(frozen=True, slots=True)
class OutputTable:
    """The beginning of a table."""

    columns: tuple[str, ...]
    """Headings."""

    rows: tuple[tuple[str, ...], ...]
    """Cells, as many in each row as there are columns."""

    note: str
    """Number of rows and columns that are left out; empty where it is whole."""


def table_in(text: str, file: OutputFile | None) -> OutputTable | None:
    """Return the table that an output's text is; `None` where it is none.

    Args:
        text: The text, perhaps cut.
        file: The file that holds it, whose type says whether it is CSV.
    """
    mime = file.mime.partition(";")[0].strip().lower() if file is not None else ""
    if mime in _DELIMITERS:
        return _csv_table(text, _DELIMITERS[mime])
    return _json_table(text) if text.lstrip().startswith("[") else None


def is_code(text: str) -> bool:
    """Return whether a text is JSON, or a document of HTML, SVG or XML: it is shown as it stands."""
    if _DOCUMENT.match(text):
        return True
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _csv_table(text: str, delimiter: str) -> OutputTable | None:
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    except csv.Error:
        return None
    if len(rows) < 2 or len(rows[0]) < 2:
        return None
    width = len(rows[0])
    padded = [tuple(_padded(row, width)) for row in rows[1:]]
    return _capped(tuple(rows[0]), padded)


def _padded(row: Sequence[str], width: int) -> list[str]:
    return [*row[:width], *[""] * (width - len(row))]


def _json_table(text: str) -> OutputTable | None:
    items, is_whole = _items(text)
    objects = [cast("dict[str, Any]", item) for item in items if item and isinstance(item, dict)]
    if not objects or len(objects) < len(items):
        return None
    columns = tuple(dict.fromkeys(name for item in objects for name in item))
    rows = [tuple(_cell(item.get(name)) for name in columns) for item in objects]
    return _capped(columns, rows, is_whole=is_whole)


def _items(text: str) -> tuple[list[Any], bool]:
    """Return the items of a JSON list up to the place where the text was cut, and whether these are all."""
    items: list[Any] = []
    place = text.index("[") + 1
    try:
        while True:
            place = _after_space(text, place)
            item, place = _DECODER.raw_decode(text, place)
            items.append(item)
            place = _after_space(text, place)
            if text[place : place + 1] != ",":
                return items, text[place:].strip() == "]"
            place += 1
    except (ValueError, RecursionError):
        return items, False


def _after_space(text: str, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place


def _cell(value: Any) -> str:
    if value is None:
        return ""
    is_nested = isinstance(value, Mapping | list)
    return json.dumps(value, ensure_ascii=False) if is_nested or isinstance(value, bool) else str(value)


def _capped(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, is_whole: bool = True) -> OutputTable:
    left_out = [] if is_whole else ["the end of a long text"]
    left_out += [
        f"{missing:,} more {word}{'s' if missing != 1 else ''}"
        for missing, word in ((len(rows) - MAX_ROWS, "row"), (len(columns) - MAX_COLUMNS, "column"))
        if missing > 0
    ]
    return OutputTable(
        columns[:MAX_COLUMNS],
        tuple(row[:MAX_COLUMNS] for row in islice(rows, MAX_ROWS)),
        f"{' and '.join(left_out)} left out" if left_out else "",
    )
