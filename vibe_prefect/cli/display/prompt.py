"""Prompt of a run on a terminal: shows what a node asks about, and reads a person's answer."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from rich.text import Text

from vibe_prefect.characters import visible
from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import one_line, size
from vibe_prefect.core.approval import Answer, Question, ShownItem
from vibe_prefect.errors import UsageError
from vibe_prefect.tools.secrecy.known import scrubbed

MAX_LINES = 60
"""Lines of an item that a terminal shows; 'vibe-prefect output' prints all of it."""

CHOICES = "[a]pprove, [r]eject, [e]dit, or answer [l]ater?"
NOT_EDITABLE = "[a]pprove, [r]eject, or answer [l]ater?"


class TerminalPrompt:
    """Asks the person at the terminal about the open items of a question, one after another."""

    def __init__(self, screen: Screen, by: str, stepped_aside: Callable[[], AbstractContextManager[object]]) -> None:
        """Make a prompt.

        Args:
            screen: The terminal.
            by: Name of the person at it.
            stepped_aside: Returns a context that keeps a live view off the terminal.
        """
        self._screen = screen
        self._by = by
        self._stepped_aside = stepped_aside
        self._turn = asyncio.Lock()

    async def __call__(self, question: Question) -> Mapping[str, Answer]:
        """Return the answers; those that were put off are missing."""
        async with self._turn:
            with self._stepped_aside():
                answers: dict[str, Answer] = {}
                for id, item in question.open_items.items():
                    answer = await self._ask(question, id, item)
                    if answer is None:
                        break
                    answers |= answer
                return answers

    async def _ask(self, question: Question, id: str, item: ShownItem) -> dict[str, Answer] | None:
        for line in question_lines(question, id):
            self._screen.say(line)
        text: str | None = None
        while True:
            self._screen.say(CHOICES if item.editable else NOT_EDITABLE)
            choice = (await _read_line() or "later").strip().lower()
            if choice in ("l", "later"):
                return None
            if choice in ("e", "edit") and item.editable:
                text = await self._edited(text or item.text or "")
                for line in text_lines(text):
                    self._screen.say(line)
            elif choice in ("a", "approve", "r", "reject"):
                break
        approved = choice.startswith("a")
        self._screen.say("a comment, or nothing:" if approved else "why, in a line:")
        because = scrubbed(" ".join((await _read_line() or "").split()))
        return question.answered(
            approved=approved, by=self._by, because=because, text=text if approved else None, item=id
        )

    async def _edited(self, text: str) -> str:
        try:
            return await asyncio.to_thread(edited_text, text, ".md")
        except UsageError as error:
            self._screen.say(str(error), "red")
            return text


def question_lines(question: Question, id: str) -> Iterator[Text]:
    """Yield the lines that show one item of a question on a terminal.

    Args:
        question: The question.
        id: The item.
    """
    item = question.items[id]
    yield Text.assemble((one_line(question.node_id), "bold"), f" asks about {one_line(id)}: {one_line(question.text)}")
    yield from text_lines(item.text or "")
    for file in item.files:
        volume = f"  {size(file.bytes)}" if file.bytes is not None else ""
        yield Text.assemble("  file ", (one_line(file.path), "cyan"), volume)
    if question.until is not None:
        yield Text(f"  without an answer until {question.until}: {question.on_timeout}", "dim")


def text_lines(text: str) -> Iterator[Text]:
    """Yield the first lines of a text, indented."""
    lines = visible(text).splitlines()
    yield from (Text(f"  {line}") for line in lines[:MAX_LINES])
    if len(lines) > MAX_LINES:
        yield Text(f"  ... {len(lines) - MAX_LINES:,} more lines", "dim")


def edited_text(text: str, ending: str) -> str:
    """Open a text in the editor that VISUAL or EDITOR names, and return it as it was saved.

    Args:
        text: The text.
        ending: End of the name of the file that the editor opens, such as `.md`.

    Raises:
        UsageError: No editor is set, it does not start, or it failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise UsageError("no editor is set: set EDITOR, such as EDITOR=nano, or give the edited text with --file")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"edit{ending}"
        path.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)  # noqa: S603 - the user's own editor
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise UsageError(f"the editor {editor!r} failed: {error}") from None


async def _read_line() -> str | None:
    """Read a line from standard input; `None` at its end. Unlike a thread that reads, this can be cancelled."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    number = sys.stdin.fileno()
    loop.add_reader(number, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(number)
    return os.read(number, 4_096).decode(errors="replace") or None
