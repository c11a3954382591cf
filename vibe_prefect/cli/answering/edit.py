"""`vibe-prefect edit`: put an edited version in place of what a node made."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.text import Text

from vibe_prefect.cli.answering.approve import read_edit
from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import err, out
from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.cli.display.prompt import edited_text
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.errors import UsageError


def edit(run: str, node: str, *, file: Path | None, by: str | None, as_json: bool) -> int:
    """Edit what a node made, and print the command that runs what depends on it."""
    if file is None and not sys.stdin.isatty():
        raise UsageError("there is no terminal for an editor: give the edited text with --file")
    given = None if file is None else read_edit(file)
    server = find_server(err(), quiet=False)
    from vibe_prefect.operations import edit as edit_node

    edited = ask(server, edit_node(run, node, _in_editor if given is None else given, by=by))
    if as_json:
        from vibe_prefect.cli.display.answer_documents import EditDocument
        from vibe_prefect.cli.display.documents import print_document

        print_document(EditDocument.of(edited))
        return ExitCode.COMPLETED
    screen = out()
    if edited.edit is None:
        screen.say(f"{one_line(node)} is as it was; nothing was changed", "dim")
        return ExitCode.COMPLETED
    screen.say(Text.assemble("edited ", (one_line(edited.node_id), "bold"), f" of {one_line(edited.run_name)}"))
    screen.say(f"  by       {one_line(edited.edit.by)}")
    if edited.dependents:
        screen.say(f"to run what depends on it ({one_line(', '.join(edited.dependents))}):", "dim")
        screen.say(f"  {one_line(edited.resume_command)}")
    return ExitCode.COMPLETED


def _in_editor(text: str) -> str:
    return edited_text(text, ".json" if text.lstrip()[:1] in ("{", "[") else ".md")
