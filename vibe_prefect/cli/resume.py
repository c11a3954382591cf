"""`vibe-prefect resume`: go on where a run stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_prefect.cli.console import Screen
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.page import check_page
from vibe_prefect.cli.plans import ReadyPlan, mode, ready
from vibe_prefect.cli.report import EndedRun
from vibe_prefect.cli.run import RunRequest, execute, find_server, print_header, reported
from vibe_prefect.cli.text import one_line
from vibe_prefect.cli.toolbox import command_registry
from vibe_prefect.compiler import Simulate, compile_plan
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.models import WorkflowPlan
from vibe_prefect.selection import EVERYTHING, Choice

if TYPE_CHECKING:
    from vibe_prefect.engine.past_run import PastRun


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
    earlier = ask(server, _find(request.run))
    run = _request_of(earlier, request)
    simulate = mode(simulate=run.simulate)
    own = None if request.plan else ask(server, _own_plan(earlier))
    plan = ready(request.plan, simulate) if request.plan else _ready(earlier, own, simulate)
    run.choice.check(plan.compiled)
    if not request.quiet:
        print_header(screen, plan.compiled, simulated=run.simulate)
        screen.say(f"resumes {one_line(earlier.name)}")
    return execute(run, plan, screen, server)


async def _find(reference: str | None) -> PastRun:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.lineage import find_run, newest_run

    async with get_client() as client:
        if reference is not None:
            return await find_run(client, reference)
        newest = await newest_run(client)
    if newest.completed:
        raise UnknownRunError(f"the newest run, {newest.name!r}, has completed; name the run to resume")
    return newest


def _request_of(earlier: PastRun, request: ResumeRequest) -> RunRequest:
    """Return the earlier run's own settings; the folders of a deployed run must lie in those of the settings here.

    Raises:
        UsageError: They do not.
    """
    from vibe_prefect.settings import load_settings

    settings = load_settings()
    parameters = earlier.parameters
    input_root = parameters.input_root or settings.input_root
    output = earlier.named_output
    if (roots := earlier.roots) is not None:
        input_root, output = roots.folder("input_root", input_root), roots.folder("output", output)
    return RunRequest(
        plan=request.plan or "",
        simulate=parameters.simulate,
        concurrency=parameters.concurrency if "concurrency" in parameters.model_fields_set else settings.concurrency,
        input_root=Path(input_root),
        output=Path(output),
        as_json=request.as_json,
        quiet=request.quiet,
        resume_from=str(earlier.id),
        choice=request.choice,
        reuse=parameters.reuse,
        budget_usd=request.budget_usd or parameters.budget_usd,
        max_tokens=request.max_tokens or parameters.max_tokens,
        report=request.report,
    )


async def _own_plan(earlier: PastRun) -> WorkflowPlan | None:
    from vibe_prefect.engine.storage import open_store

    return (await earlier.with_plan(await open_store(None))).plan


def _ready(earlier: PastRun, plan: WorkflowPlan | None, simulate: Simulate) -> ReadyPlan:
    """Return the earlier run's own plan, compiled."""
    if plan is None:
        raise UnknownRunError(f"the run {earlier.name!r} has no plan among its parameters; give one with --plan")
    tools = command_registry()
    return ReadyPlan(compile_plan(plan, tools=tools, simulate=simulate), tools)
