"""`vibe-prefect replan`: the plan of a run, edited by what came of the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from vibe_prefect.cli.commands.diff import diff_document, difference_lines
from vibe_prefect.cli.commands.dry_run import forecast_document, print_forecast
from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.commands.write_plan import check_free, write_plan
from vibe_prefect.cli.display.attempts import edit_lines
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.document import RunReference
from vibe_prefect.cli.display.documents import print_document
from vibe_prefect.cli.display.ended_run import tool_options
from vibe_prefect.cli.display.lines import one_line, token_cost
from vibe_prefect.cli.display.plan_documents import OpenChange, PlanEdit, ReplanDocument
from vibe_prefect.cli.exits import ExitCode, complain
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.core.plan_tree import dotted
from vibe_prefect.core.run_values import ReplanBy
from vibe_prefect.errors import ReplanError
from vibe_prefect.operations import ReplannedRun
from vibe_prefect.reporting.next_steps import replan_command
from vibe_prefect.results import resume_command


@dataclass(frozen=True)
class ReplanRequest:
    """Arguments of the command."""

    run: str | None
    """Name or id; the newest run when left out."""

    by: ReplanBy
    """`rule`, or `model` for the default model."""

    given: Mapping[str, Any]
    """Limits of the budget, by name."""

    output: Path | None
    """File for the edited plan; `None` to write none."""

    as_json: bool

    force: bool = False
    """Whether to write over a file that is there."""

    tools: tuple[Path, ...] = ()
    """Files of tools that the command line names; a resume has to name them again."""


def replan(request: ReplanRequest) -> int:
    """Replan a run, print and write the edited plan; returns the exit code."""
    output = request.output
    if output is not None:
        check_free(output, force=request.force)
    server = find_server(err(), quiet=request.as_json)
    from vibe_prefect.operations import replan as replanned_by

    question = replanned_by(request.run, by=request.by, tools=command_registry(), given=request.given)
    try:
        replanned = ask(server, question)
    except ReplanError as error:
        complain(str(error))
        return ExitCode.INTERNAL
    if output is not None:
        write_plan(output, replanned.plan, replanned.replan.reasons)
    if request.as_json:
        print_document(_document(replanned, output))
    else:
        _print(out(), replanned, request)
    return ExitCode.COMPLETED


def _print(screen: Screen, replanned: ReplannedRun, request: ReplanRequest) -> None:
    edited, name = replanned.replan, replanned.run.name
    by = f"by the model {edited.model}" if edited.model is not None else "by rule"
    screen.say(Text.assemble("replan of ", (one_line(name), "bold"), f" {one_line(by)}"))
    for line in edit_lines(edited):
        screen.say(line)
    if edited.is_empty:
        screen.say("the plan stays as it is: no rule changes it" if edited.model is None else "nothing was changed")
    else:
        compared = replanned.comparison
        for line in difference_lines(compared.difference, compared.a.compiled, compared.b.compiled):
            screen.say(line)
    print_forecast(screen, replanned.forecast)
    if edited.model is not None:
        screen.say(f"replanning took {token_cost(edited.tokens, edited.cost_usd)}", "dim")
    _print_next(screen, name, request)


def _print_next(screen: Screen, name: str, request: ReplanRequest) -> None:
    """Print the command that resumes with the edited plan, after the one that writes it where it is not written."""
    tools = tool_options(request.tools)
    file = "better.yaml" if request.output is None else shlex.quote(str(request.output))
    if request.output is None:
        by = "" if request.by == "rule" else f" --by {request.by}"
        limits = "".join(f" --{limit.replace('_', '-')} {value}" for limit, value in request.given.items())
        screen.say("to write the edited plan, and to resume with it:")
        screen.say(f"  {replan_command(name)}{by}{limits}{tools} -o {file}")
    else:
        screen.say("to resume with the edited plan:")
    screen.say(f"  {resume_command(name)} --plan {file}{tools}")


def _document(replanned: ReplannedRun, output: Path | None) -> ReplanDocument:
    edited = replanned.replan
    edits = [
        PlanEdit(node_id=edit.node_id, field=dotted(edit.path), value=edit.value, reason=edit.reason)
        for edit in edited.edits
    ]
    for added in edited.added:
        data = added.node.model_dump(mode="json", exclude_defaults=True)
        edits.append(PlanEdit(node_id=added.node.id, field=None, value=data, reason=added.reason))
    return ReplanDocument(
        run=RunReference(run_name=replanned.run.name, run_id=str(replanned.run.id)),
        model=edited.model,
        edits=edits,
        open=[OpenChange(node_id=left.node_id, change=left.change, reason=left.reason) for left in edited.open],
        diff=diff_document(replanned.comparison),
        forecast=forecast_document(replanned.forecast),
        plan_file=None if output is None else str(output),
    )
