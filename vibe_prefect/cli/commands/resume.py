"""`vibe-prefect resume`: run the rest of an earlier run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vibe_prefect.cli.commands.page import check_page
from vibe_prefect.cli.commands.run import RunRequest, execute, find_server, print_header, reported
from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.ended_run import EndedRun, server_line, short_path
from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.cli.exits import warn
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.errors import UsageError
from vibe_prefect.tools.registry import SHORT_VARIABLE


@dataclass(frozen=True)
class ResumeRequest:
    """Arguments of the command."""

    run: str | None
    """Name or id; the newest run when left out."""

    plan: str | None
    """A plan file to resume the run with; its own plan when left out."""

    as_json: bool
    quiet: bool
    given: Mapping[str, Any]
    """Options of the run in place of those that the earlier run had, by name."""

    report: Path | None = None
    """Path of a page about the run; `None` for no page."""

    inputs: InputArguments = field(default_factory=InputArguments)
    """Inputs in place of those that the earlier run was given."""

    tools: tuple[Path, ...] = ()
    """Files of tools that the command line names."""


def resume_run(request: ResumeRequest) -> int:
    """Resume an earlier run and report on it; returns the exit code."""
    check_page(request.report)
    return reported(lambda screen: _resume(request, screen), as_json=request.as_json)


def _resume(request: ResumeRequest, screen: Screen) -> EndedRun:
    server = find_server(screen, quiet=request.quiet)
    from vibe_prefect.operations import plan_resume

    question = plan_resume(
        request.run, request.given, plan=request.plan, tools=command_registry(), inputs=request.inputs.of
    )
    resumed = ask(server, question)
    compiled, options = resumed.plan.compiled, resumed.options
    options.choice.check(compiled)
    if not request.quiet:
        print_header(screen, compiled, simulated=options.simulate)
        screen.say(server_line(server.line))
        screen.say(f"resumes {one_line(resumed.earlier.name)}")
    if resumed.model_change is not None and not options.without_model:
        options = options.replaced({"without_model": _may_do_without(resumed.model_change, request, screen)})
    if resumed.plan_changed and resumed.plan_file is not None:
        file = short_path(Path(resumed.plan_file))
        warn(f"{file} has changed since that run, which is resumed with its own plan; --plan {file} takes the edit")
    run = RunRequest(
        request.plan or "",
        options,
        as_json=request.as_json,
        quiet=request.quiet,
        report=request.report,
        plan_file=resumed.plan_file,
        tools=request.tools,
    )
    return execute(run, resumed.plan, screen, server)


def _may_do_without(change: str, request: ResumeRequest, screen: Screen) -> bool:
    """Return whether the run may do without a model of the earlier run; the run is refused where nobody can be asked.

    Raises:
        UsageError: The answer is no.
    """
    if not screen.lively or request.as_json or not sys.stdin.isatty():
        return False
    warn(change)
    screen.say("resume without it? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError(f"nothing was run; set {SHORT_VARIABLE} to the model that the run had")
    return True
