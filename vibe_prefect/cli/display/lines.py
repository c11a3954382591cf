"""Words for the terminal: text from plans made harmless, and numbers with their units."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vibe_prefect.characters import visible
from vibe_prefect.text.units import clock, counted, rough, seconds, size
from vibe_prefect.tools.secrecy.known import scrubbed

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "LABEL",
    "MIN_COLUMN",
    "SEPARATOR",
    "brief",
    "clock",
    "columns",
    "counted",
    "error_lines",
    "fact_line",
    "inputs_line",
    "one_line",
    "rough",
    "seconds",
    "size",
    "token_cost",
    "wrapped",
    "wrapped_error",
]

MAX_BRIEF = 300
"""Characters of an error's text on a terminal."""

MAX_ERROR_LINES = 4
"""Lines of an error on a terminal."""

ERROR_INDENT = " " * 6
"""Space before the further lines of an error."""

MIN_COLUMN = 4
"""Columns of a terminal that a cut text keeps."""

LAST_COLUMN = 30
"""Columns of a terminal that the last text of a row keeps as long as others can be cut."""

LABEL = 9
"""Columns of the labels before facts about a run."""

SEPARATOR = "  "


_WORD = re.compile(r"\s*\S+\s*")


def one_line(text: str) -> str:
    """Return text on one line, harmless for a terminal."""
    return visible(" ".join(text.split()))


def fact_line(label: str, text: str) -> Text:
    """Return a line with a fact about a run after its label."""
    from rich.text import Text

    return Text.assemble((f"{label:<{LABEL}}", "dim"), text)


def token_cost(tokens: int, usd: float | None) -> str:
    """Return a number of tokens, and their price in US dollars; `None` for an unknown one."""
    return f"{tokens:,} tokens, {'of unknown price' if usd is None else f'{usd:.4f} USD'}"


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


def wrapped_error(label: Text, error: str | None, width: int | None) -> list[Text]:
    """Return a label and the first lines of an error after it, broken at words and indented below the label.

    Args:
        label: Text before the error.
        error: Text of the error.
        width: Largest width of a line in columns; `None` for no limit.
    """
    from rich.text import Text

    first, *further = (Text(line) for line in error_lines(error))
    lines = [label + first, *(Text(ERROR_INDENT) + line for line in further)]
    return [part for line in lines for part in wrapped(line, width)]


def wrapped(line: Text, width: int | None) -> list[Text]:
    """Break a line at words so that it fits into a width, with all but its first part indented."""
    if width is None or line.cell_len <= width:
        return [line]
    from rich.text import Text

    room = max(MIN_COLUMN, width - len(ERROR_INDENT))
    first, *rest = line.divide(_breaks(line.plain, room))
    for part in (first, *rest):
        part.rstrip()
    return [first, *(Text(ERROR_INDENT) + part for part in rest)]


def _breaks(text: str, room: int) -> list[int]:
    """Return the offsets of the words that begin a new line; a word that is too long, such as a path, stays whole."""
    from rich.cells import cell_len

    offsets: list[int] = []
    used = 0
    for word in _WORD.finditer(text):
        if used and used + cell_len(word.group().rstrip()) > room:
            offsets.append(word.start())
            used = 0
        used += cell_len(word.group())
    return offsets


def columns(rows: Sequence[Sequence[Text]], width: int | None) -> list[Text]:
    """Return a line for each row, its cells below each other.

    Where there is too little room, texts are cut: those between the first and the last cell before the last, which
    says what happened, and the first, which names the row, only when all others are as short as they may be. Cells
    that stand to the right are numbers, and are cut last of all.

    Args:
        rows: Rows of the same number of cells.
        width: Largest width of a line in columns; `None` for no limit.
    """
    if not rows:
        return []
    indices = range(len(rows[0]))
    widths = [max(row[index].cell_len for row in rows) for index in indices]
    if width is not None:
        used = sum(cell_width > 0 for cell_width in widths)
        numbers = {index for index in indices if any(row[index].justify == "right" for row in rows)}
        widths = _fitted(widths, numbers, width - len(SEPARATOR) * (used - 1))
    return [_line(row, widths) for row in rows]


def _fitted(widths: Sequence[int], numbers: Collection[int], room: int) -> list[int]:
    """Return the widths of the columns, cut until they fit into the room, but none below a minimum."""
    widths = list(widths)
    texts = [index for index in range(1, len(widths)) if index not in numbers]
    last, between = texts[-1:], texts[:-1]
    for indices, minimum in ((last, LAST_COLUMN), (between, MIN_COLUMN), (last, MIN_COLUMN)):
        _cut(widths, indices, minimum, room)
    _cut(widths, [0], MIN_COLUMN, room)
    _cut(widths, range(len(widths)), MIN_COLUMN, room)
    return widths


def _cut(widths: list[int], indices: Iterable[int], minimum: int, room: int) -> None:
    """Cut the widest of some columns until all fit into the room, but none below a minimum."""
    cuttable: list[int] = [index for index in indices if widths[index] > minimum]
    while cuttable and sum(widths) > room:
        widest = max(cuttable, key=lambda index: widths[index])
        next_widest = max((widths[index] for index in cuttable if index != widest), default=minimum)
        target = min(widths[widest] - 1, max(minimum, next_widest - 1))
        widths[widest] = max(target, widths[widest] - (sum(widths) - room))
        cuttable = [index for index in cuttable if widths[index] > minimum]


def _line(row: Sequence[Text], widths: Sequence[int]) -> Text:
    from rich.text import Text

    line = Text(no_wrap=True, overflow="ellipsis")
    for source, width in zip(row, widths, strict=True):
        if not width:
            continue
        cell = source.copy()
        cell.truncate(width, overflow="ellipsis")
        gap = width - cell.cell_len
        line.append_text(Text(" " * gap) + cell if cell.justify == "right" else cell + Text(" " * gap))
        line.append(SEPARATOR)
    line.rstrip()
    return line
