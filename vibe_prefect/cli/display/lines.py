"""Words for the terminal: text from plans made harmless, and numbers with their units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from vibe_prefect.characters import visible
from vibe_prefect.text.units import counted, rough, seconds, size
from vibe_prefect.tools.secrecy.known import scrubbed

__all__ = [
    "MIN_COLUMN",
    "SEPARATOR",
    "brief",
    "columns",
    "counted",
    "error_lines",
    "inputs_line",
    "one_line",
    "rough",
    "seconds",
    "size",
]

MAX_BRIEF = 300
"""Characters of an error's text on a terminal."""

MAX_ERROR_LINES = 4
"""Lines of an error on a terminal."""

MIN_COLUMN = 6
SEPARATOR = "  "


def one_line(text: str) -> str:
    """Return text on one line, harmless for a terminal."""
    return visible(" ".join(text.split()))


def brief(text: str) -> str:
    """Return the beginning of a text on one line, harmless for a terminal; a cut text ends with its length."""
    line = one_line(text[: 8 * MAX_BRIEF])
    is_complete = len(line) <= MAX_BRIEF and len(text) <= 8 * MAX_BRIEF
    return line if is_complete else f"{line[:MAX_BRIEF]}... ({len(text):,} characters)"


def inputs_line(inputs: Mapping[str, Any]) -> str:
    """Return the values of a run's inputs on one line, long ones cut and without known secrets."""
    values = (f"{name}={brief(json.dumps(value, ensure_ascii=False))}" for name, value in inputs.items())
    return scrubbed(", ".join(values))


def error_lines(error: str | None) -> list[str]:
    """Return the first lines of an error, at least one, each cut and harmless for a terminal."""
    lines = visible((error or "no message")[: 8 * MAX_ERROR_LINES * MAX_BRIEF]).splitlines()[:MAX_ERROR_LINES]
    return [line if len(line) <= MAX_BRIEF else f"{line[:MAX_BRIEF]}..." for line in lines] or [""]


def columns(rows: Sequence[Sequence[Text]], width: int | None) -> list[Text]:
    """Return a line for each row, its cells below each other; where there is too little room, the widest are cut.

    Args:
        rows: Rows of the same number of cells.
        width: Largest width of a line in columns; `None` for no limit.
    """
    if not rows:
        return []
    widths = [max(row[index].cell_len for row in rows) for index in range(len(rows[0]))]
    if width is not None:
        widths = _fitted(widths, width - len(SEPARATOR) * (len(widths) - 1))
    return [_line(row, widths) for row in rows]


def _fitted(widths: list[int], room: int) -> list[int]:
    """Cut the widest columns until they fit, but none below a minimum."""
    widths = list(widths)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=widths.__getitem__)
        others = [width for index, width in enumerate(widths) if index != widest]
        excess = sum(widths) - room
        target = max(MIN_COLUMN, widths[widest] - excess, max(others, default=0) - 1)
        if target >= widths[widest]:
            break
        widths[widest] = target
    return widths


def _line(row: Sequence[Text], widths: Sequence[int]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for source, width in zip(row, widths, strict=True):
        cell = source.copy()
        cell.truncate(width, overflow="ellipsis")
        gap = width - cell.cell_len
        line.append_text(Text(" " * gap) + cell if cell.justify == "right" else cell + Text(" " * gap))
        line.append(SEPARATOR)
    line.rstrip()
    return line
