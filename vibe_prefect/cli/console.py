"""Where the command line writes: consoles that neither interpret what a plan says nor fail on a closed pipe."""

from __future__ import annotations

import os
import sys
from typing import IO, Any

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 100_000
"""Columns of a console that is no terminal: whatever reads it breaks lines itself."""


class Screen(Console):
    """A console for text that is to appear as it is: no markup, no emoji codes, no guessing at numbers to colour."""

    def __init__(self, stream: IO[str]) -> None:
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

    def on_broken_pipe(self) -> None:
        """Fall silent: nobody reads any more, and what is being run need not stop for that."""
        self.quiet = True
        silence(self.file)

    def say(self, text: str | Text = "", style: str = "") -> None:
        """Print one line, which is neither cut nor broken."""
        self.print(text, style=style, soft_wrap=True)

    @property
    def limit(self) -> int | None:
        """How wide a table may be; `None` where nothing cuts it."""
        return self.width if self.is_terminal else None

    @property
    def lively(self) -> bool:
        """Whether it can redraw what it has shown."""
        return self.is_terminal and not self.is_dumb_terminal


def out() -> Screen:
    """Return a console on standard output."""
    return Screen(sys.stdout)


def err() -> Screen:
    """Return a console on standard error."""
    return Screen(sys.stderr)


def write(text: str) -> None:
    """Write text to standard output as it is."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)


def silence(stream: IO[Any]) -> None:
    """Send the rest of a stream nowhere, so that flushing it at exit does not fail."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # no file behind it
        return


def prepare_streams() -> None:
    """Make a character that the terminal's encoding lacks an escape instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write out what is buffered, whoever still reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
