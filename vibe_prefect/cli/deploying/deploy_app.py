"""The commands around deployments, and their help. What a command needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from vibe_prefect.cli.defaults import POOL
from vibe_prefect.cli.help_groups import DEPLOY, KEEP, examples
from vibe_prefect.cli.reading.inputs import InputArguments, InputsOption, SetFileOption, SetOption
from vibe_prefect.cli.reading.toolbox import ToolsOption, use_tool_files


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    server = App(name="server", group=DEPLOY, help="Run a Prefect server of this machine.", help_format="plaintext")
    server.command(
        server_start,
        name="start",
        help_epilogue=examples("server start", "server start --background", "server start --port 4300"),
    )
    server.command(server_stop, name="stop", help_epilogue=examples("server stop"))
    server.command(server_status, name="status", help_epilogue=examples("server status"))
    blocks = App(
        name="blocks", group=DEPLOY, help="Plans that are stored on the Prefect server.", help_format="plaintext"
    )
    blocks.command(blocks_register, name="register", help_epilogue=examples("blocks register"))
    blocks.command(blocks_save, name="save", help_epilogue=examples("blocks save nightly-digest plan.yaml"))
    worker = App(name="worker", group=DEPLOY, help="Run what is deployed.", help_format="plaintext")
    worker.command(
        worker_start,
        name="start",
        help_epilogue=examples("worker start", "worker start --limit 2", "worker start --tools tools.py"),
    )
    app.command(serve, group=DEPLOY, help_epilogue=examples("serve plan.yaml", "serve flows/plans/*.yaml"))
    app.command(
        deploy,
        group=DEPLOY,
        help_epilogue=examples(
            "deploy plan.yaml",
            'deploy plan.yaml --cron "0 6 * * 1" --timezone Europe/Berlin',
            "deploy plan.yaml --set product=Tea",
            "deploy nightly-digest --overlap skip",
            "deploy plan.yaml --check",
        ),
    )
    app.command(server)
    app.command(blocks)
    app.command(worker)
    app.command(config, group=KEEP, help_epilogue=examples("config", "config --json"))


def serve(  # noqa: PLR0913 - a command's options
    plan: str,
    /,
    *plans: str,
    cron: str | None = None,
    timezone: str | None = None,
    no_cron: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    name: str | None = None,
    set_: SetOption = (),
    set_file: SetFileOption = (),
    inputs: InputsOption = None,
    tools: ToolsOption = (),
) -> int:
    """Serve plans: each is a deployment in the Prefect UI, and this process runs what is started there.

    Without PREFECT_API_URL, the Prefect server of this machine is used; where there is none, one is started in the
    background.

    Args:
        plan: The plan file; an edit counts from the next run on.
        plans: More plan files.
        cron: Run them by themselves too, such as '0 6 * * 1' for Mondays at six.
        timezone: The time zone of --cron, such as Europe/Berlin; UTC by default.
        no_cron: Remove the schedules that they have. Without this and --cron, schedules stay.
        name: The deployment's name, of one plan alone; by default the plan's id.
        set_: Value of an input for the runs of one plan alone, as NAME=VALUE.
        set_file: Value of an input that stands in a file now, as NAME=PATH.
        inputs: A YAML or JSON file with values of inputs.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.deploying.schedules import ScheduleOptions
    from vibe_prefect.cli.deploying.serve import serve as command

    use_tool_files(tools)
    arguments = InputArguments(set_, set_file, inputs)
    return command((plan, *plans), ScheduleOptions(cron, timezone, no_cron), name, arguments)


def deploy(  # noqa: PLR0913 - a command's options
    plan: str,
    /,
    *,
    cron: str | None = None,
    timezone: str | None = None,
    no_cron: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    overlap: Literal["wait", "skip", "allow"] | None = None,
    name: str | None = None,
    pool: str | None = None,
    working_dir: Path | None = None,
    tag: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    check: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    set_: SetOption = (),
    set_file: SetFileOption = (),
    inputs: InputsOption = None,
    tools: ToolsOption = (),
) -> int:
    """Make a deployment of one plan, for workers to run; or renew one, which keeps what is not named here.

    Args:
        plan: The plan file, which is taken as it is now; or the name of a stored plan, which each run looks up.
        cron: When it runs by itself, such as '0 6 * * 1' for Mondays at six.
        timezone: The time zone of --cron, such as Europe/Berlin; UTC by default.
        no_cron: Remove the schedules that it has.
        overlap: What becomes of a run that is due while another one is not over: it waits, is skipped, or runs too;
            `wait` for a new deployment.
        name: The deployment's name; by default the plan's id.
        pool: The work pool; where there is none of that name, one for processes is made. A new deployment goes to
            `vibe-prefect-pool`.
        working_dir: The workers' folder: plans read and write below it; this folder for a new deployment.
        tag: A tag for its runs; may be given several times.
        check: Have a worker of the pool check whether it could run the plan: tools, models, keys, folders. Nothing is
            executed.
        set_: Value of an input for its runs, as NAME=VALUE.
        set_file: Value of an input that stands in a file now, as NAME=PATH.
        inputs: A YAML or JSON file with values of inputs.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.deploying.deploy import DeployRequest
    from vibe_prefect.cli.deploying.deploy import deploy as command
    from vibe_prefect.cli.deploying.schedules import ScheduleOptions

    use_tool_files(tools)
    schedule = ScheduleOptions(cron, timezone, no_cron)
    arguments = InputArguments(set_, set_file, inputs)
    return command(DeployRequest(plan, name, schedule, overlap, pool, working_dir, tag, check, arguments))


def server_start(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 4200,
    background: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Start a Prefect server with the settings that keep it healthy while plans run, and say which.

    What the environment sets stays as it is. 'run' and the other commands use it without PREFECT_API_URL.

    Args:
        host: The address that it listens at.
        port: The port that it listens at.
        background: Return at once, and let it go on until 'server stop'.
    """
    from vibe_prefect.cli.deploying.start_server import start as command
    from vibe_prefect.cli.deploying.start_server import start_in_background

    return start_in_background(host, port) if background else command(host, port)


def server_stop(*, force: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> int:
    """Stop the Prefect server of this machine, also one that a run has left in the background.

    Args:
        force: Stop it although a command uses it.
    """
    from vibe_prefect.cli.deploying.start_server import stop as command

    return command(force=force)


def server_status() -> int:
    """Show which Prefect server commands use, and how long it goes on; the exit code is 1 where none runs."""
    from vibe_prefect.cli.deploying.start_server import status as command

    return command()


def blocks_register() -> int:
    """Register the block type 'Workflow Plan', so that plans can be stored and edited in the Prefect UI."""
    from vibe_prefect.cli.deploying.store_plan import register as command

    return command()


def blocks_save(name: str, plan: str, /, *, tools: ToolsOption = ()) -> int:
    """Store a plan file under a name, in place of what has that name.

    Args:
        name: The name: lower-case letters, digits and '-'.
        plan: The plan file.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    use_tool_files(tools)
    from vibe_prefect.cli.deploying.store_plan import save as command

    return command(name, plan)


def config(*, json: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> int:
    """Show the settings, where each comes from, and the variable that sets it.

    Args:
        json: Print one JSON document.
    """
    from vibe_prefect.cli.commands.show_settings import config as command

    return command(as_json=json)


def worker_start(
    *,
    pool: str = POOL,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    tools: ToolsOption = (),
) -> int:
    """Start a worker, which takes up a run within about a second and ends its runs well when it is stopped.

    Args:
        pool: The work pool.
        limit: How many runs it executes at once; no limit by default.
        tools: A Python file with tools that its runs may name; each run reads it as it is then.
    """
    use_tool_files(tools)
    from vibe_prefect.cli.deploying.start_worker import start as command

    return command(pool, limit)
