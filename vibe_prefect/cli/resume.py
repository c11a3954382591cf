"""`vibe-prefect resume`: go on where a run stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_prefect.cli.console import Screen
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.page import check_page
from vibe_prefect.cli.report import EndedRun
from vibe_prefect.cli.run import RunRequest, execute, find_server, print_header, reported
from vibe_prefect.cli.text import one_line
from vibe_prefect.cli.toolbox import command_registry
from vibe_prefect.selection import EVERYTHING, Choice

if TYPE_CHECKING:
    from vibe_prefect.operations import ResumedRun


@dataclass(frozen=True)
class ResumeRequest:
    """What the user asked for."""

    run: str | None
    """Name or id; the newest run when left out."""

    plan: str | None
    """A plan file to resume the run with; its own plan when left out."""

    as_json: bool
    quiet: bool
    choice: Choice = EVERYTHING
    budget_usd: float | None = None
    max_tokens: int | None = None
    report: Path | None = None
    """Where to write a page about the run."""


def resume_run(request: ResumeRequest) -> int:
    """Resume an earlier run and report on it; returns the exit code."""
    check_page(request.report)
    return reported(lambda screen: _resume(request, screen), as_json=request.as_json)


def _resume(request: ResumeRequest, screen: Screen) -> EndedRun:
    server = find_server(screen, quiet=request.quiet)
    from vibe_prefect.operations import plan_resume

    resumed = ask(
        server,
        plan_resume(
            request.run,
            plan=request.plan,
            budget_usd=request.budget_usd,
            max_tokens=request.max_tokens,
            tools=command_registry(),
        ),
    )
    request.choice.check(resumed.plan.compiled)
    if not request.quiet:
        print_header(screen, resumed.plan.compiled, simulated=resumed.simulate)
        screen.say(f"resumes {one_line(resumed.earlier.name)}")
    return execute(_run_request(resumed, request), resumed.plan, screen, server)


def _run_request(resumed: ResumedRun, request: ResumeRequest) -> RunRequest:
    return RunRequest(
        plan=request.plan or "",
        simulate=resumed.simulate,
        concurrency=resumed.concurrency,
        input_root=resumed.input_root,
        output=resumed.output,
        as_json=request.as_json,
        quiet=request.quiet,
        resume_from=str(resumed.earlier.id),
        choice=request.choice,
        reuse=resumed.reuse,
        budget_usd=resumed.budget_usd,
        max_tokens=resumed.max_tokens,
        report=request.report,
    )
