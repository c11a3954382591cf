"""`vibe-prefect output`: print or copy what a run made."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from vibe_prefect.characters import UNSENDABLE, escaped
from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import Screen, err, out, write
from vibe_prefect.cli.display.lines import columns, counted, one_line, size
from vibe_prefect.cli.exits import ExitCode, StartError
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.errors import UsageError
from vibe_prefect.results import output_command

if TYPE_CHECKING:
    from vibe_prefect.engine.runs.node_outputs import NodeOutput, RunOutputs

MAX_WORDS = 60
"""Characters of a text in the list of results."""


def output(run: str | None, node: str | None, to: Path | None) -> int:
    """Print the output of a node, list the results of a run, or copy them to a folder."""
    _check_folder(to)
    server = find_server(err(), quiet=False)
    from vibe_prefect.operations import output as outputs_of

    try:
        found = ask(server, outputs_of(run, node, to=to))
    except OSError as error:
        raise StartError(f"cannot write to {str(to)!r}: {error.strerror or error}") from error
    if to is not None:
        _print_written(out(), found.written)
    elif node is not None or len(found.outputs) == 1:
        _print_output(found, found.outputs[0])
    else:
        _print_list(out(), found)
    return ExitCode.COMPLETED


def _check_folder(to: Path | None) -> None:
    if to is not None and to.exists() and not to.is_dir():
        raise UsageError(f"--to {str(to)!r} is a file; name a folder")


def _print_output(found: RunOutputs, output: NodeOutput) -> None:
    """Print an output as it stands; on a terminal without characters that would act there."""
    if output.text is not None:
        is_terminal = sys.stdout.isatty()
        text = escaped(output.text, UNSENDABLE) if is_terminal else output.text
        write(text.encode("utf-8", "backslashreplace").decode() + ("" if text.endswith("\n") else "\n"))
    missing = [file for file in output.files if file.path not in found.paths and "://" not in file.path]
    screen = out() if output.text is None else err()
    for file in output.files:
        screen.say(one_line(str(found.paths.get(file.path, file.path))))
    if missing:
        command = output_command(found.report.run_name, output.node.id)
        err().say(f"{counted(len(missing), 'file')} not in the run's folder; to have it: {command} --to FOLDER", "dim")


def _print_list(screen: Screen, found: RunOutputs) -> None:
    rows = [
        [Text(one_line(item.node.id), "bold"), Text(_size(item), "dim"), Text(_words(item))] for item in found.outputs
    ]
    for line in columns(rows, screen.limit):
        screen.say(line)
    screen.say()
    run = found.report.run_name
    screen.say("to print one, and to copy all:", "dim")
    screen.say(f"  {output_command(run, found.outputs[0].node.id)}")
    screen.say(f"  {output_command(run)} --to FOLDER")


def _size(output: NodeOutput) -> str:
    if output.files:
        known = [file.bytes for file in output.files if file.bytes is not None]
        return f"{counted(len(output.files), 'file')}, {size(sum(known))}"
    return counted(len(output.text or ""), "character")


def _words(output: NodeOutput) -> str:
    if output.files:
        names = [one_line(file.path) for file in output.files[:3]]
        return ", ".join(names) + (" ..." if len(output.files) > 3 else "")
    words = one_line((output.text or "")[: 4 * MAX_WORDS])
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"


def _print_written(screen: Screen, written: Sequence[Path]) -> None:
    rows = [[Text(_short(path)), Text(size(path.stat().st_size), "dim", justify="right")] for path in written]
    for line in columns(rows, screen.limit):
        screen.say(line)
    if not written:
        screen.say("nothing to copy", "dim")


def _short(path: Path) -> str:
    relative_path = os.path.relpath(path)
    return one_line(str(path) if relative_path.startswith("..") else relative_path)
