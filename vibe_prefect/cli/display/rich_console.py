"""A rich console for text that is to appear as it is, on a stream that may stand for another one."""

from __future__ import annotations

from typing import IO

from rich.console import Console

PIPE_WIDTH = 100_000
"""Columns of a console that is not a terminal: its reader breaks lines itself."""


class RichConsole(Console):
    """A console without markup, emoji codes and guesses at numbers to colour."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        terminal = stream.isatty()
        super().__init__(
            file=stream,
            force_terminal=terminal,
            color_system="auto" if terminal else None,
            width=None if terminal else PIPE_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def file(self) -> IO[str]:
        """Stream as it was given: rich would write past the stand-in that prints above a live view, into the view."""
        return self._stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._stream = new_file
