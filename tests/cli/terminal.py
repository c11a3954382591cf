"""The command line on a terminal whose screen can be read."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pyte

from tests.cli.command import PROGRAM, environment

BOUND = 180.0
"""Seconds to wait for what a test expects."""


def spawn(
    folder: Path, extra: Mapping[str, str], *arguments: str, rows: int = 40, columns: int = 100
) -> pexpect.spawn[str]:
    """Start the command on a terminal of a certain size."""
    env = environment(folder / "home", {"TERM": "xterm-256color", **extra})
    env.pop("COLUMNS", None)
    return pexpect.spawn(
        PROGRAM,
        list(arguments),
        cwd=str(folder),
        env=env,  # pyright: ignore[reportArgumentType]
        encoding="utf-8",
        dimensions=(rows, columns),
        timeout=BOUND,
    )


class Terminal:
    """A command on a terminal of a certain size, and what its screen shows."""

    def __init__(
        self, folder: Path, extra: Mapping[str, str], *arguments: str, rows: int = 40, columns: int = 100
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.Stream(self._screen)
        self.child = spawn(folder, extra, *arguments, rows=rows, columns=columns)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.close(force=True)

    @property
    def lines(self) -> list[str]:
        """All lines that were printed, those that have scrolled away first, without what was erased."""
        width = self._screen.columns
        scrolled = ["".join(row[column].data for column in range(width)) for row in self._screen.history.top]
        return [line.rstrip() for line in (*scrolled, *self._screen.display)]

    @property
    def text(self) -> str:
        """Its lines as one text, without empty ones at the end."""
        return "\n".join(self.lines).rstrip()

    def until(self, pattern: str) -> str:
        """Wait until the screen shows a pattern, and return its text."""
        end = time.monotonic() + BOUND
        while not re.search(pattern, self.text):
            assert self._read(), f"the command ended without {pattern!r}:\n{self.text}"
            assert time.monotonic() < end, f"no {pattern!r}:\n{self.text}"
        return self.text

    def end(self) -> int | None:
        """Wait until the command ends, and return its exit code."""
        end = time.monotonic() + BOUND
        while self._read():
            assert time.monotonic() < end, f"the command goes on:\n{self.text}"
        self.child.close()
        return self.child.exitstatus

    def _read(self) -> bool:
        """Take what the command has printed; `False` at its end."""
        try:
            self._stream.feed(self.child.read_nonblocking(65_536, timeout=1))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True
