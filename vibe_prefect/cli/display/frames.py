"""Problems of a plan as people read them: each with its line of the file, a caret below it, and its hint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.cells import cell_len

from vibe_prefect.characters import visible
from vibe_prefect.errors import MAX_PROBLEM, MAX_PROBLEMS, PlanError, Position, Problem, printable
from vibe_prefect.plan.reading.plan_text import read_text

WIDTH = 120
"""Largest number of columns of a frame's line, however wide the terminal is."""

MIN_WIDTH = 20
"""Smallest number of columns of the plan's text that a frame shows."""

MARGIN = 9
"""Columns before the plan's text: the indent, the line's number and a bar."""

CUT = "..."
"""Mark where a line was cut."""

TAB = "    "

_LINE_END = re.compile("[\n\x85\u2028\u2029]")
"""Ends of lines, as YAML and editors see them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The line of a plan file that a problem is about, made harmless for a terminal."""

    line: int
    """Its number, from 1."""

    text: str
    """The line, cut around the caret where it is too long; tabs are spaces, unseen characters are escapes."""

    caret: int
    """Columns of a terminal before the place of the problem."""


def frame_of(lines: Sequence[str], position: Position, width: int = WIDTH) -> Frame | None:
    """Cut a frame out of a file.

    Args:
        lines: The lines of the file.
        position: The position of the problem.
        width: Columns that the line may take.

    Returns:
        The frame; `None` where the file has no such position, or nothing but space there.
    """
    if position.line > len(lines):
        return None
    line, index = lines[position.line - 1], position.column - 1
    if index > len(line) or not line.strip():
        return None
    before = _visible(line[max(0, index - width) : index])
    after = _visible(line[index : index + width])
    hidden_before, hidden_after = index > width, len(line) > index + width
    room_after = min(sum(map(cell_len, after)), max(width // 2, width - sum(map(cell_len, before))))
    before, cut_before = _fitted(before[::-1], width - room_after, cut=hidden_before)
    after, cut_after = _fitted(after, width - sum(map(cell_len, before)) - len(CUT) * cut_before, cut=hidden_after)
    start = CUT * cut_before + "".join(before[::-1])
    return Frame(position.line, f"{start}{''.join(after)}{CUT * cut_after}", cell_len(start))


def _visible(text: str) -> list[str]:
    """Return the text that a terminal is shown for each character."""
    return [TAB if character == "\t" else visible(character) for character in text]


def _fitted(parts: list[str], room: int, *, cut: bool) -> tuple[list[str], bool]:
    """Return as many parts as there is room for, and whether some are left out."""
    cut = cut or sum(map(cell_len, parts)) > room
    room -= len(CUT) * cut
    fitting: list[str] = []
    for part in parts:
        room -= cell_len(part)
        if room < 0:
            break
        fitting.append(part)
    return fitting, cut


class Frames:
    """Frames of the files that problems are about; each file is read once."""

    def __init__(self, width: int | None = None, texts: Mapping[str, str] | None = None) -> None:
        """Read no file yet.

        Args:
            width: Columns of the terminal; `None` for the usual width.
            texts: Plans that are in no file, by the names that the problems give them.
        """
        self._width = max(MIN_WIDTH, min(WIDTH, width or WIDTH) - MARGIN)
        self._lines = {name: _LINE_END.split(text) for name, text in (texts or {}).items()}

    def of(self, problem: Problem) -> Frame | None:
        """Return the frame of a problem; `None` where it has no place in a file that can be read."""
        position = problem.position
        return frame_of(self._lines_of(position.file), position, self._width) if position else None

    def _lines_of(self, name: str) -> list[str]:
        if name not in self._lines:
            try:
                self._lines[name] = _LINE_END.split(read_text(Path(name), name))
            except PlanError:  # no file, such as a stored plan; or it is gone meanwhile
                self._lines[name] = []
        return self._lines[name]


def framed(error: PlanError, width: int | None = None, texts: Mapping[str, str] | None = None) -> str:
    """Return an error about a plan as lines of text, each problem with its frame and its hint.

    Args:
        error: The error.
        width: Columns of the terminal; `None` where it is none.
        texts: Plans that are in no file; see `Frames`.
    """
    frames = Frames(width, texts)
    framed_problems = error.problems[:MAX_PROBLEMS]
    omitted = len(error.problems) - len(framed_problems)
    lines = [str(error).partition("\n")[0]]
    for problem in framed_problems:
        lines += _problem_lines(problem, frames.of(problem))
    return "\n".join([*lines, *([f"  and {omitted:,} more"] if omitted else [])])


def _problem_lines(problem: Problem, frame: Frame | None) -> Iterator[str]:
    message_only = replace(problem, message=problem.without_hint, hint=None)
    yield f"  {printable(str(message_only), MAX_PROBLEM)}"
    if frame is not None:
        yield f"{frame.line:>6} | {frame.text}"
        yield f"{'':>6} | {' ' * frame.caret}^"
    if problem.hint is not None:
        yield f"{'':>6} = hint: {printable(problem.hint, MAX_PROBLEM)}"
