"""`vibe-prefect resume`: go on where a run stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_prefect.cli.console import Screen
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.page import check_page
from vibe_prefect.cli.plans import ReadyPlan, mode, ready
from vibe_prefect.cli.report import RunReport
from vibe_prefect.cli.run import RunRequest, execute, find_server, print_header, reported
from vibe_prefect.cli.text import one_line
from vibe_prefect.cli.toolbox import command_registry
from vibe_prefect.compiler import Simulate, compile_plan
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.models import WorkflowPlan

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

KEPT = ("simulate", "reuse", "input_root", "output", "budget_usd", "max_tokens")
"""Options of the earlier run that a resume takes over, unless it is given others; which nodes run is chosen again."""


@dataclass(frozen=True)
class ResumeRequest:
    """What the user asked for."""

    run: str | None
    """Name or id; the newest run when left out."""

    plan: str | None
    """A plan file to resume the run with; its own plan when left out."""

    as_json: bool
    quiet: bool
    given: Mapping[str, Any]
    """Options of the run in place of those that the earlier run had, by name."""

    report: Path | None = None
    """Where to write a page about the run."""


def resume_run(request: ResumeRequest) -> int:
    """Resume an earlier run and report on it; returns the exit code."""
    check_page(request.report)
    return reported(lambda screen: _resume(request, screen), as_json=request.as_json)


def _resume(request: ResumeRequest, screen: Screen) -> RunReport:
    server = find_server(screen, quiet=request.quiet)
    earlier = ask(server, _find(request.run))
    run = _request_of(earlier, request)
    simulate = mode(simulate=run.options.simulate)
    own = None if request.plan else ask(server, _own_plan(earlier))
    plan = ready(request.plan, simulate) if request.plan else _ready(earlier, own, simulate)
    run.options.choice.check(plan.compiled)
    if not request.quiet:
        print_header(screen, plan.compiled, simulated=run.options.simulate)
        screen.say(f"resumes {one_line(earlier.name)}")
    return execute(run, plan, screen, server)


async def _find(reference: str | None) -> FlowRun:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.lineage import find_run, newest_run

    async with get_client() as client:
        if reference is not None:
            return await find_run(client, reference)
        newest = await newest_run(client)
    if newest.state is not None and newest.state.is_completed():
        raise UnknownRunError(f"the newest run, {newest.name!r}, has completed; name the run to resume")
    return newest


def _request_of(earlier: FlowRun, request: ResumeRequest) -> RunRequest:
    """Return the earlier run's own settings; the folders of a deployed run must lie in those of the settings here.

    Raises:
        UsageError: They do not.
    """
    from vibe_prefect.engine.operator_roots import Root, recorded_roots
    from vibe_prefect.settings import load_settings

    defaults = load_settings().run_options
    kept = {name: earlier.parameters[name] for name in KEPT if earlier.parameters.get(name) not in (None, "")}
    if "concurrency" in earlier.parameters:  # where it is none, there was no limit
        kept["concurrency"] = earlier.parameters["concurrency"]
    options = defaults.replaced({**kept, **request.given, "resume_from": str(earlier.id)})
    if (roots := recorded_roots(earlier)) is not None:
        folders: tuple[Root, ...] = ("input_root", "output")
        options = options.replaced({name: roots.folder(name, getattr(options, name)) for name in folders})
    return RunRequest(request.plan or "", options, as_json=request.as_json, quiet=request.quiet, report=request.report)


async def _own_plan(earlier: FlowRun) -> WorkflowPlan | None:
    from vibe_prefect.engine.plan_store import recorded_plan
    from vibe_prefect.engine.storage import open_store

    return await recorded_plan(earlier, await open_store(None))


def _ready(earlier: FlowRun, plan: WorkflowPlan | None, simulate: Simulate) -> ReadyPlan:
    """Return the earlier run's own plan, compiled."""
    if plan is None:
        raise UnknownRunError(f"the run {earlier.name!r} has no plan among its parameters; give one with --plan")
    tools = command_registry()
    return ReadyPlan(compile_plan(plan, tools=tools, simulate=simulate), tools)
