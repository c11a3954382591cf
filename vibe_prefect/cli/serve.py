"""`vibe-prefect serve`: plans as deployments that this process runs, with a Prefect server where there is none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.text import Text

from vibe_prefect.cli.console import Screen, flush, out
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.exits import PROGRAM, ExitCode, tell, warn
from vibe_prefect.cli.interrupt import Ending, SignalWatch
from vibe_prefect.cli.plans import ready
from vibe_prefect.cli.schedules import print_schedule, schedule_of
from vibe_prefect.cli.standing import standing_or_started, ui_address
from vibe_prefect.cli.text import one_line
from vibe_prefect.engine.server_settings import CLIENT_SETTINGS
from vibe_prefect.errors import UsageError
from vibe_prefect.models import WorkflowPlan

if TYPE_CHECKING:
    from prefect.runner import Runner

    from vibe_prefect.engine.cron import CronReading

POLL_SECONDS = 0.05
STARTING = "starting a Prefect server (some seconds; more the first time) ..."


@dataclass(frozen=True)
class Served:
    """A plan to be served."""

    path: Path
    plan: WorkflowPlan


def serve(paths: Sequence[str], cron: str | None, timezone: str | None) -> int:
    """Serve plans until a signal ends it."""
    plans = _checked(paths)
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    screen = out()
    reading = schedule_of(cron, timezone)
    with ExitStack() as stack:
        server = stack.enter_context(standing_or_started(lambda: screen.say(STARTING)))
        screen.say(f"Prefect server  {ui_address() or server.api_url}")
        ask(server, _serve(plans, screen, reading))
    tell("no longer serving")
    return ExitCode.COMPLETED


def _checked(paths: Sequence[str]) -> list[Served]:
    """Return the plans, all of them able to run and told apart by their ids.

    Raises:
        UsageError: One of them is no plan, or two have the same id.
    """
    found: dict[str, Served] = {}
    for path in paths:
        plan = ready(path).compiled.plan
        if plan.id in found:
            raise UsageError(f"{path} and {found[plan.id].path} are both plans with the id {plan.id!r}; rename one")
        found[plan.id] = Served(Path(path).resolve(), plan)
    return list(found.values())


async def _serve(plans: Sequence[Served], screen: Screen, reading: CronReading | None) -> None:
    from prefect.runner import Runner

    from vibe_prefect.engine.deployments import PlanDeployment
    from vibe_prefect.engine.operator_roots import roots_environment

    os.environ.update(roots_environment([served.path for served in plans]))  # for the processes of the runs
    await _warn_of_others([served.plan.id for served in plans])
    schedule = reading.schedule if reading else None
    runner = Runner(name="vibe-prefect", pause_on_shutdown=True)
    for served in plans:
        vibe = served.plan.source_vibe.description
        # By its path: an edit of the file counts from the next run on.
        deployment = PlanDeployment(served.plan.id, vibe, str(served.path), schedule)
        id = await runner.aadd_deployment(deployment.build())
        address = ui_address(f"/deployments/deployment/{id}")
        screen.say(Text.assemble((served.plan.id, "bold"), f"  {one_line(vibe)}"))
        screen.say(f"  run it  {address or f'prefect deployment run run-plan/{served.plan.id}'}")
    print_schedule(screen, reading)
    screen.say("serving; Ctrl-C ends it and cancels its runs, which can be resumed")
    flush()
    await _until_signalled(runner)


async def _warn_of_others(ids: Sequence[str]) -> None:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.deployments import is_served

    async with get_client() as client:
        for id in ids:
            if await is_served(client, id):
                warn(
                    f"run-plan/{id} is served by another process too: either may take up a run, and its schedule is "
                    "paused when one of them ends"
                )


async def _until_signalled(runner: Runner) -> None:
    """Run a runner until a signal comes; its runs are cancelled then, and keep what they finished."""
    loop = asyncio.get_running_loop()
    running = loop.create_task(runner.start())
    while not (runner.started or running.done()):  # noqa: ASYNC110 - the runner tells nobody when it has started
        await asyncio.sleep(POLL_SECONDS)
    stopped = asyncio.Event()
    watch = SignalWatch(lambda: loop.call_soon_threadsafe(stopped.set), Ending(_end_at_once), grace=None)
    watch.listen()  # only now: the runner sets a handler of its own when it starts
    signalled = loop.create_task(stopped.wait())
    await asyncio.wait([running, signalled], return_when=asyncio.FIRST_COMPLETED)
    if stopped.is_set():
        tell("stopping ...")
        await runner.astop()
    signalled.cancel()
    await running


def _end_at_once() -> None:
    """Kill the runs, and the server where it is ours."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os.write(2, f"\n{PROGRAM}: ended at once\n".encode())
