"""Consoles of the command line: they do not interpret the texts of a plan, and write to streams that never fail."""

from __future__ import annotations

import io
import os
import re
import sys
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.text import Text

    from vibe_prefect.cli.display.rich_console import RichConsole

_REWRITTEN = re.compile(r"[\t\a\b\v\f\r]")
"""Characters in whose place rich prints others, or nothing."""


class Screen:
    """Lines on a stream: text as it is, with styles on a terminal. Only a terminal, and what is drawn, need rich."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        """Whether people look at it."""

    @cached_property
    def console(self) -> RichConsole:
        """The console of rich, for what is more than lines."""
        from vibe_prefect.cli.display.rich_console import RichConsole

        return RichConsole(self._stream)

    def say(self, text: str | Text = "", style: str = "") -> None:
        """Print one line, which is neither cut nor broken."""
        plain = text if isinstance(text, str) else text.plain
        if self.is_terminal or _REWRITTEN.search(plain):
            self.console.print(text, style=style, soft_wrap=True)
        else:
            self._stream.write(f"{plain}\n")
            self._stream.flush()

    @property
    def limit(self) -> int | None:
        """Largest width of a table in columns; `None` where nothing cuts it."""
        return self.console.width if self.is_terminal else None

    @property
    def lively(self) -> bool:
        """Whether it can redraw shown lines."""
        return self.is_terminal and not self.console.is_dumb_terminal


def out() -> Screen:
    """Return a console on standard output."""
    return Screen(sys.stdout)


def err() -> Screen:
    """Return a console on standard error."""
    return Screen(sys.stderr)


def write(text: str) -> None:
    """Write text to standard output as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


class ForgivingFile(io.FileIO):
    """A file that discards bytes that cannot be written, as to a full disk, a closed pipe or a terminal that is gone.

    A run, and everything that prints on the way, need not stop for that. Nothing is written from then on.
    """

    def write(self, data: Any) -> int | None:
        """Write bytes, or discard them."""
        try:
            return super().write(data)
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def prepare_streams() -> None:
    """Make the standard streams safe to use, wherever they lead.

    A closed stream is opened on nothing, so that no file that is opened later takes its number. A stream that fails
    later falls silent. A character that the terminal's encoding lacks becomes an escape instead of an error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nothing(number, "r" if number == 0 else "w"))
    sys.stdout = _forgiving(sys.stdout)
    sys.stderr = _forgiving(sys.stderr)


def flush() -> None:
    """Write out the buffers of the standard streams."""
    sys.stdout.flush()
    sys.stderr.flush()


def _open_nothing(number: int, mode: str) -> IO[str]:
    null = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
    os.dup2(null, number)  # to itself, where it was the lowest that is free: that does no harm
    os.set_inheritable(number, True)
    if null != number:
        os.close(null)
    return os.fdopen(number, mode, encoding="utf-8", closefd=False)


def _forgiving(stream: TextIO) -> TextIO:
    """Return a stream that writes to the same file as another, and discards text that cannot be written."""
    if not isinstance(stream, io.TextIOWrapper):  # somebody has replaced it
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(ForgivingFile(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
