"""`vibe-prefect serve`: plans as deployments that this process runs, with a Prefect server where there is none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.text import Text

from vibe_prefect.cli.deploying.schedules import ScheduleOptions, print_schedule
from vibe_prefect.cli.display.console import Screen, flush, out
from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.cli.exits import PROGRAM, ExitCode, tell, warn
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.process.interrupt import Ending, SignalWatch
from vibe_prefect.cli.process.run_processes import let_suspended_end
from vibe_prefect.cli.process.standing import standing_or_started
from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.server.settings import CLIENT_SETTINGS
from vibe_prefect.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.runner import Runner

    from vibe_prefect.engine.deploy.cron import CronReading

POLL_SECONDS = 0.05
STARTING = "starting a Prefect server (some seconds; more the first time) ..."


@dataclass(frozen=True)
class Served:
    """A plan to be served."""

    path: Path
    plan: WorkflowPlan
    name: str
    """Name of its deployment."""


def serve(paths: Sequence[str], schedule: ScheduleOptions, name: str | None, inputs: InputArguments) -> int:
    """Serve plans until a signal ends it.

    Args:
        paths: The plan files.
        schedule: Their schedule, if any.
        name: The deployment's name, for a single plan only; by default a plan's id.
        inputs: Values of inputs, for a single plan only.
    """
    if inputs and len(paths) > 1:
        raise UsageError(f"inputs are given for one plan, and {len(paths)} are named; serve them one by one")
    plans = _checked(paths, name)
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    screen = out()
    reading = schedule.reading()
    server = standing_or_started(lambda: screen.say(STARTING))
    from vibe_prefect.engine.server.ui_pages import ui_page

    screen.say(f"Prefect server  {ui_page() or server.api_url}  ({server.description})")
    ask(server, _serve(plans, screen, reading, inputs, drop_schedules=schedule.no_cron))
    tell("no longer serving")
    return ExitCode.COMPLETED


def _checked(paths: Sequence[str], name: str | None) -> list[Served]:
    """Load the plans; all of them can run, and have different ids.

    Raises:
        UsageError: A file is not a valid plan, two plans have the same id, or a name is given for several plans.
    """
    if name is not None:
        if len(paths) > 1:
            raise UsageError(f"--name {name!r} is for one plan, and {len(paths)} are given; serve them one by one")
        from vibe_prefect.engine.deploy.deployment_checks import check_name

        check_name("--name", name)
    by_id: dict[str, Served] = {}
    for path in paths:
        plan = ready(path).compiled.plan
        if plan.id in by_id:
            raise UsageError(f"{path} and {by_id[plan.id].path} are both plans with the id {plan.id!r}; rename one")
        by_id[plan.id] = Served(Path(path).resolve(), plan, plan.id if name is None else name)
    return list(by_id.values())


async def _serve(
    plans: Sequence[Served],
    screen: Screen,
    reading: CronReading | None,
    inputs: InputArguments,
    *,
    drop_schedules: bool,
) -> None:
    from prefect.runner import Runner

    from vibe_prefect.cli.deploying.inputs import deployed_inputs
    from vibe_prefect.engine.deploy.deployments import PlanDeployment
    from vibe_prefect.engine.deploy.redeployment import schedule_changes
    from vibe_prefect.engine.inputs.operator_roots import roots_environment
    from vibe_prefect.engine.server.ui_pages import ui_page

    os.environ.update(roots_environment([served.path for served in plans]))  # for the processes of the runs
    before = await _before(plans)
    schedule = reading.schedule if reading else None
    runner = Runner(name="vibe-prefect", pause_on_shutdown=True)
    for served in plans:
        vibe = served.plan.source_vibe.description
        earlier = before[served.name]
        recurs = reading is not None or bool(earlier and earlier.schedules and not drop_schedules)
        stated = deployed_inputs(served.plan, inputs, earlier, always=recurs)
        # By its path: an edit of the file counts from the next run on.
        deployment = PlanDeployment(
            served.name,
            vibe,
            str(served.path),
            schedule,
            earlier=earlier,
            drop_schedules=drop_schedules,
            inputs=stated,
            declared=served.plan.inputs,
        )
        id = await runner.aadd_deployment(deployment.build())
        address = ui_page(f"/deployments/deployment/{id}")
        screen.say(Text.assemble((served.name, "bold"), f"  {one_line(vibe)}"))
        screen.say(f"  run it  {address or f'prefect deployment run run-plan/{served.name}'}")
        for line in schedule_changes(earlier, deployment) if earlier else ():
            screen.say(f"  {line}")
    print_schedule(screen, reading)
    screen.say("serving; Ctrl-C ends it and cancels its runs, which can be resumed")
    flush()
    await _until_signalled(runner)


async def _before(plans: Sequence[Served]) -> dict[str, DeploymentResponse | None]:
    """Return the existing deployments, by name.

    Raises:
        UsageError: A deployment is for workers.
    """
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.deploy.deployments import deployment_of, is_served
    from vibe_prefect.engine.deploy.redeployment import check_servable

    async with get_client() as client:
        deployments = {served.name: await deployment_of(client, served.name) for served in plans}
    for name, deployment in deployments.items():
        check_servable(deployment)
        if is_served(deployment):
            warn(
                f"run-plan/{name} is served by another process too: either may take up a run, and its schedule is "
                "paused when one of them ends"
            )
    return deployments


async def _until_signalled(runner: Runner) -> None:
    """Run a runner until a signal comes; its runs are cancelled then, and keep their records."""
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
        await let_suspended_end(os.getpid())
        await runner.astop()
    signalled.cancel()
    await running


def _end_at_once() -> None:
    """Kill the runs, and the server where this command has started it."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os.write(2, f"\n{PROGRAM}: ended at once\n".encode())
