"""The commands and their help. What a command needs is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import App, CycloptsError, Parameter

from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.lines import fact_line, one_line
from vibe_prefect.cli.exits import DEBUG_VARIABLE, PROGRAM, ExitCode, complain
from vibe_prefect.cli.help_groups import KEEP, OPTIONS, RUN, WRITE, JsonOption, examples
from vibe_prefect.cli.reading.inputs import InputArguments, InputsOption, SetFileOption, SetOption
from vibe_prefect.cli.reading.toolbox import ToolsOption, use_tool_files
from vibe_prefect.cli.reading.vibes import NO_ARGUMENTS, VIBE, VibeArguments
from vibe_prefect.core.run_values import ReplanBy, Reuse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from vibe_prefect.cli.commands.run import RunRequest

Command = TypeVar("Command", bound=Callable[..., int])

HELP_WIDTH = 96
PAGE_ENDINGS = (".html", ".htm")
DEFAULT_PAGE = "."
"""Value of `--report` without a value: the current folder, in which the page is named after the run."""

_EXITS = f"""\
Exit codes:
    0  completed
    1  nodes failed
    2  bad plan or usage
    3  internal failure, such as a Prefect server that does not start
    4  waiting for a person's answer
  130  interrupted with Ctrl-C

{DEBUG_VARIABLE}=1 shows tracebacks and Prefect's own log."""


_MODULES: Mapping[str, tuple[str, ...]] = {
    "vibe_prefect.cli.answering.answer_app": ("approvals", "approve", "edit", "reject"),
    "vibe_prefect.cli.deploying.deploy_app": ("blocks", "config", "deploy", "serve", "server", "worker"),
    "vibe_prefect.cli.mcp.mcp_app": ("mcp",),
    "vibe_prefect.cli.look_app": ("output", "replan", "report", "runs", "watch"),
    "vibe_prefect.cli.model_app": ("model",),
    "vibe_prefect.cli.plan_app": ("plan",),
}
"""Modules that add further commands, each with the names of its commands."""

_BOUNDS = {"gt": "gt", "ge": "gte", "le": "lte"}
"""Cyclopts' names of the bounds in a type."""


def _option(name: str, more: str = "", **parameter: Any) -> Parameter:
    """Build the parameter with which the command line shows and checks an option of a run.

    Args:
        name: The option.
        more: Meaning of leaving it out.
        **parameter: More arguments of the `Parameter`.
    """
    from cyclopts.validators import Number

    from vibe_prefect.run.run_options import RunOptions, help_of

    bounds = RunOptions.model_fields[name].metadata
    checks = [Number(**{_BOUNDS[key]: value for key, value in asdict(bound).items()}) for bound in bounds]
    return Parameter(help=help_of(name, more), validator=checks or None, **parameter)


def _say_at_once(line: Text, *, as_json: bool) -> None:
    """Print the first line of a run, which needs little more than Python: the user sees that it has begun."""
    (err() if as_json else out()).say(line)


def _stated(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the user has stated."""
    return {name: value for name, value in options.items() if value is not None}


_PLAN = "The plan file: .json, or JSON or YAML under any other name."
_VIBE = "Plan this wish with the configured language model, show the plan, ask, and run it, in place of a plan file."
_YES = "Run a planned plan without asking."
_DRY_RUN = "Run nothing: say which nodes would run, which would be reused, and why."
_RECORD = "Record a simulation in Prefect, as any other run; without this it needs no server, unless it resumes a run."
_EARLIER = "The run's name or id; by default the newest one, unless it has completed."
_EDITED = "Resume with this plan file, edited since: only changed nodes, and those that depend on them, run again."
_AS_BEFORE = "by default as much as the earlier run had"
_REPORT = (
    "Write a page about the run at its end, whatever its end: to this .html file, or without one to '<run name>.html'."
)
_QUIET = "Print no progress, only what came of the run."

_Quiet = Annotated[bool, Parameter(alias="-q", negative="", show_default=False, help=_QUIET)]
_Report = Annotated[Path | None, Parameter(help=_REPORT)]


def _usual_concurrency() -> str:
    from vibe_prefect.run.run_options import RunOptions

    return f"{RunOptions().concurrency} unless the settings differ, which 'config' shows"


def _version() -> str:
    from importlib.metadata import version

    return f"{PROGRAM} {version(PROGRAM)} (Prefect {version('prefect')}, Python {sys.version.split()[0]})"


def _new_app() -> App:
    new = App(
        name=PROGRAM,
        help="Run content-generation plans as Prefect flows: checked, resumable, visible node by node.",
        help_format="plaintext",
        help_epilogue=_EXITS,
        version=_version,
        version_flags=("--version", "-v"),
        version_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    new["--help"].group = new["--version"].group = OPTIONS
    return new


app = _new_app()

_COMMANDS: dict[str, tuple[Callable[..., int], Mapping[str, Any]]] = {}
"""The commands of this module by name, each with its arguments of `App.command`: to read a command's options takes
time, so only commands that are wanted are added to the command line.
"""

_ADDED: set[str] = set()
"""Names of those commands, and of the modules with further ones, that were added."""

_LISTING = frozenset({"--help", "-h", "--version", "-v"})
"""Arguments that need no more of the commands than their names and what they are for."""


def _command(**options: Any) -> Callable[[Command], Command]:
    """Make a function a command of the command line.

    Args:
        **options: Arguments of `App.command`.
    """

    def declare(function: Command) -> Command:
        name = options.pop("name", function.__name__)
        _COMMANDS[name] = function, options
        return function

    return declare


@_command(name="help", show=False)
def print_help(*command: str) -> int:
    """Show the help of a command, or of all.

    Args:
        command: The command's words.
    """
    return call([*command, "--help"])


def call(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name.

    Returns:
        The exit code.
    """
    if not arguments:
        _listing().help_print([], console=_help_console(sys.stderr))
        return ExitCode.USAGE
    if _LISTING.issuperset(arguments):
        commands = _listing()
    else:
        add_commands_of(arguments)
        commands = app
    prints_help = arguments[0] not in _COMMANDS or not _LISTING.isdisjoint(arguments)
    try:
        code = commands(
            with_report(arguments),
            console=_help_console(sys.stdout) if prints_help else None,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        complain(f"{_usage_message(error)}\n  '{_help_command(error)}' lists what there is")
        return ExitCode.USAGE
    return code if isinstance(code, int) else ExitCode.COMPLETED


def _listing() -> App:
    """Return a command line with all commands of this module without their options, of which most of the time goes."""
    listing = _new_app()
    for name, (function, options) in _COMMANDS.items():
        listing.command(_without_options(function), name=name, **options)
    for module in _MODULES:
        import_module(module).add_commands(listing)
    return listing


def _without_options(function: Callable[..., int]) -> Callable[[], None]:
    def listed() -> None: ...

    listed.__doc__ = function.__doc__
    return listed


def add_commands_of(arguments: Sequence[str]) -> None:
    """Add the command that the arguments name; all commands where they name none, as for a name that is misspelt."""
    name = arguments[0] if arguments else ""
    named = [module for module, commands in _MODULES.items() if name in commands]
    if name in _COMMANDS:
        named = [name]
    for wanted in named or [*_COMMANDS, *_MODULES]:
        if wanted in _ADDED:
            continue
        _ADDED.add(wanted)
        if wanted in _COMMANDS:
            function, options = _COMMANDS[wanted]
            app.command(function, name=wanted, **options)
        else:
            import_module(wanted).add_commands(app)


def with_report(arguments: Sequence[str]) -> list[str]:
    """Add a value to each `--report` that has none. After a space, only a page's name is a value.

    So `run --report plan.yaml` is not taken for an order to write the page over the plan.
    """
    default_option = f"--report={DEFAULT_PAGE}"
    following = [*arguments[1:], ""]
    return [
        default_option if argument == "--report" and not after.lower().endswith(PAGE_ENDINGS) else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _help_console(stream: IO[str]) -> Console:
    """Return a console for help texts: as wide as they read well."""
    console = Screen(stream).console
    console.width = min(console.width, HELP_WIDTH)
    return console


def _usage_message(error: CycloptsError) -> str:
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:]


def _help_command(error: CycloptsError) -> str:
    names = " ".join(error.command_chain or ())
    return f"{PROGRAM} {names} --help" if names else f"{PROGRAM} --help"


@_command(
    group=RUN,
    help_epilogue=examples(
        "run flows/plans/release_digest.yaml",
        "run plan.yaml --simulate",
        "run plan.yaml --set product=Tea --set-file brief=brief.md",
        "run plan.yaml --tools tools.py",
        "run plan.yaml --adapt 3 --budget-usd 0.5",
        "run plan.yaml --json | jq .summary",
        'run --vibe "A launch week for our tea shop" --budget-usd 0.50',
        "run plan.yaml --dry-run --resume release-digest-calm-otter",
    )
    + "\n\n"
    + _EXITS,
)
def run(  # noqa: PLR0913 - a command's options
    plan: Annotated[str | None, Parameter(help=_PLAN)] = None,
    /,
    *,
    vibe: Annotated[str | None, Parameter(group=VIBE, help=_VIBE)] = None,
    about: VibeArguments = NO_ARGUMENTS,
    yes: Annotated[bool, Parameter(alias="-y", negative="", show_default=False, group=VIBE, help=_YES)] = False,
    simulate: Annotated[bool, _option("simulate", negative="", show_default=False)] = False,
    record: Annotated[bool, Parameter(negative="", show_default=False, help=_RECORD)] = False,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False, help=_DRY_RUN)] = False,
    resume: Annotated[str | None, _option("resume_from")] = None,
    select: Annotated[str | None, _option("select")] = None,
    exclude: Annotated[str | None, _option("exclude")] = None,
    refresh: Annotated[str | None, _option("refresh")] = None,
    reuse: Annotated[Reuse, _option("reuse")] = "run",
    concurrency: Annotated[int | None, _option("concurrency", _usual_concurrency())] = None,
    input_root: Annotated[
        Path | None, _option("input_root", "by default the current one, or as the settings say")
    ] = None,
    output: Annotated[Path | None, _option("output", "'outputs', or as the settings say", alias="-o")] = None,
    json: JsonOption = False,
    quiet: _Quiet = False,
    budget_usd: Annotated[float | None, _option("budget_usd")] = None,
    max_tokens: Annotated[int | None, _option("max_tokens")] = None,
    without_model: Annotated[bool, _option("without_model", negative="", show_default=False)] = False,
    run_on: Annotated[str | None, _option("run_on")] = None,
    adapt: Annotated[int, _option("adapt")] = 0,
    replan_by: Annotated[ReplanBy, _option("replan_by")] = "rule",
    report: _Report = None,
    set_: SetOption = (),
    set_file: SetFileOption = (),
    inputs: InputsOption = None,
    tools: ToolsOption = (),
) -> int:
    """Run a plan, and show how far it is.

    Without PREFECT_API_URL (or a Prefect profile that sets it), the Prefect server of this machine is used. Where there
    is none, one is started; it goes on for 10 minutes after its last use, unless the setting `server_minutes` differs.
    """
    if plan is not None and not (quiet or dry_run):
        _say_at_once(fact_line("plan", one_line(plan)), as_json=json)
    from vibe_prefect.cli.commands.run import RunRequest
    from vibe_prefect.cli.defaults import run_defaults

    use_tool_files(tools)
    options = {
        "resume_from": resume,
        "select": select,
        "exclude": exclude,
        "refresh": refresh,
        "reuse": reuse,
        "concurrency": concurrency,
        "simulate": simulate,
        "input_root": input_root and str(input_root),
        "output": output and str(output),
        "budget_usd": budget_usd,
        "max_tokens": max_tokens,
        "without_model": without_model,
        "run_on": run_on,
        "adapt": adapt,
        "replan_by": replan_by,
    }
    request = RunRequest(
        plan or "",
        run_defaults().replaced(_stated(options)),
        as_json=json,
        quiet=quiet,
        report=report,
        plan_file=str(Path(plan or "").resolve()),
        inputs=InputArguments(set_, set_file, inputs),
        tools=tools,
    )
    if vibe is not None or plan is None:
        from vibe_prefect.cli.commands.plan import planned_request

        planned = planned_request(request, vibe, about, yes=yes, only_forecast=dry_run)
        if planned is None:
            return ExitCode.INTERNAL
        request = planned
    return _perform(request, record=record, dry_run=dry_run)


def _perform(request: RunRequest, *, record: bool, dry_run: bool) -> int:
    """Simulate, forecast or run a plan."""
    options = request.options
    if options.simulate and not (record or dry_run or options.resume_from or options.reuse == "plan"):
        from vibe_prefect.cli.commands.simulate import simulate_plan

        return simulate_plan(request)
    if dry_run:
        from vibe_prefect.cli.commands.dry_run import forecast_run

        return forecast_run(request)
    from vibe_prefect.cli.commands.run import run_plan_file

    return run_plan_file(request)


@_command(group=RUN, help_epilogue=examples("resume", "resume release-digest-calm-otter", "resume --plan edited.yaml"))
def resume(  # noqa: PLR0913 - a command's options
    run: Annotated[str | None, Parameter(help=_EARLIER)] = None,
    /,
    *,
    plan: Annotated[str | None, Parameter(help=_EDITED)] = None,
    select: Annotated[str | None, _option("select")] = None,
    exclude: Annotated[str | None, _option("exclude")] = None,
    refresh: Annotated[str | None, _option("refresh")] = None,
    json: JsonOption = False,
    quiet: _Quiet = False,
    budget_usd: Annotated[float | None, _option("budget_usd", _AS_BEFORE)] = None,
    max_tokens: Annotated[int | None, _option("max_tokens", _AS_BEFORE)] = None,
    without_model: Annotated[bool, _option("without_model", negative="", show_default=False)] = False,
    run_on: Annotated[str | None, _option("run_on")] = None,
    report: _Report = None,
    set_: SetOption = (),
    set_file: SetFileOption = (),
    inputs: InputsOption = None,
    tools: ToolsOption = (),
) -> int:
    """Run the rest of an earlier run: its completed nodes are reused."""
    from vibe_prefect.cli.commands.resume import ResumeRequest, resume_run

    use_tool_files(tools)
    options = {
        "select": select,
        "exclude": exclude,
        "refresh": refresh,
        "budget_usd": budget_usd,
        "max_tokens": max_tokens,
        "without_model": without_model,
        "run_on": run_on,
    }
    request = ResumeRequest(
        run,
        plan,
        as_json=json,
        quiet=quiet,
        given=_stated(options),
        report=report,
        inputs=InputArguments(set_, set_file, inputs),
        tools=tools,
    )
    return resume_run(request)


@_command(
    group=RUN,
    help_epilogue=examples(
        'accept release-digest-calm-otter tone --because "the client asked for it"',
        'accept release-digest-calm-otter tone --because "checked by hand" --by "Ann Lee"',
    ),
)
def accept(  # noqa: PLR0913 - a command's options
    run: str, node: str, /, *, because: str, by: str | None = None, json: JsonOption = False, tools: ToolsOption = ()
) -> int:
    """Accept what a gate refused: the next 'resume' takes the node as completed.

    Who accepted it, when and why stays in the gate's record, and shows in every report from then on.

    Args:
        run: The name or id of the run in which the gate refused.
        node: The gate's id.
        because: The reason.
        by: Who accepts it; by default the login name.
        json: Print nothing but one JSON document; messages go to standard error.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.accept import accept as command

    use_tool_files(tools)
    return command(run, node, because, by, as_json=json)


@_command(group=KEEP, help_epilogue=examples("prune --older-than 30d --dry-run", "prune --older-than 2w --outputs"))
def prune(
    *,
    older_than: str,
    outputs: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Delete the records of old runs. Resuming such a run afterwards runs, and pays for, all of its nodes again.

    Records of unfinished runs, and of the runs that they resume, stay. Prefect's own list of runs is left as it is.

    Args:
        older_than: Time since the last activity of a run, such as 45m, 12h, 30d or 2w.
        outputs: Delete the runs' own output folders too.
        dry_run: Only list what would be deleted.
        json: Print one JSON document.
    """
    from vibe_prefect.cli.commands.runs import prune as command

    return command(older_than, outputs=outputs, dry_run=dry_run, as_json=json)


@_command(
    group=WRITE,
    help_epilogue=examples("validate plan.yaml", "validate plan.json --simulate", "validate plan.yaml --json"),
)
def validate(  # noqa: PLR0913 - a command's options
    plan: str,
    /,
    *,
    simulate: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    set_: SetOption = (),
    set_file: SetFileOption = (),
    inputs: InputsOption = None,
    tools: ToolsOption = (),
) -> int:
    """Check a plan without running it, and print every problem that it has.

    Args:
        plan: The plan file: .json, or JSON or YAML under any other name.
        simulate: Check the structure only, as for a simulated run: a node need have no tool behind it.
        json: Print nothing but one JSON document with the problems; messages go to standard error.
        set_: Value of an input that the plan declares, as NAME=VALUE.
        set_file: Value of an input that stands in a file, as NAME=PATH.
        inputs: A YAML or JSON file with values of inputs.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.validate import validate as command

    use_tool_files(tools)
    return command(plan, InputArguments(set_, set_file, inputs), simulate=simulate, as_json=json)


@_command(
    group=WRITE,
    help_epilogue=examples("show plan.yaml", "show plan.yaml --mermaid", "show plan.yaml --svg -o plan.svg"),
)
def show(
    plan: str,
    /,
    *,
    mermaid: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    svg: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    tools: ToolsOption = (),
) -> int:
    """Print a plan as a tree, or draw it.

    Args:
        plan: The plan file: .json, or JSON or YAML under any other name.
        mermaid: Draw it as a mermaid flowchart.
        svg: Draw it as an SVG picture.
        output: Write the drawing to this file instead of standard output.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.show import show as command

    use_tool_files(tools)
    return command(plan, as_mermaid=mermaid, as_svg=svg, output=output)


@_command(group=WRITE, help_epilogue=examples("diff plan.yaml edited.yaml", "diff release-digest-calm-otter plan.yaml"))
def diff(  # noqa: PLR0913 - a command's options
    a: str,
    b: str,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    set_: SetOption = (),
    set_file: SetFileOption = (),
    inputs: InputsOption = None,
    tools: ToolsOption = (),
) -> int:
    """Compare two plans and list the nodes that resuming the first with the second would run again.

    Args:
        a: The earlier plan: a plan file, or the name or id of a run.
        b: The later plan: a plan file, or the name or id of a run.
        json: Print nothing but one JSON document; messages go to standard error.
        set_: Value of an input that the plan declares, as NAME=VALUE.
        set_file: Value of an input that stands in a file, as NAME=PATH.
        inputs: A YAML or JSON file with values of inputs.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.diff import diff as command

    use_tool_files(tools)
    return command(a, b, InputArguments(set_, set_file, inputs), as_json=json)


@_command(group=WRITE, help_epilogue=examples("schema > plan.schema.json", "schema --output > output.schema.json"))
def schema(*, output: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> int:
    """Print the JSON Schema of plan files, for editors.

    Args:
        output: Print the JSON Schema of what commands print with '--json' instead, and of the kept report of a run.
    """
    from vibe_prefect.cli.commands.catalog import schema as command

    return command(of_outputs=output)


@_command(group=WRITE, help_epilogue=examples("tools", "tools image_card", "tools --json"))
def tools(
    name: str | None = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    files: ToolsOption = (),
) -> int:
    """List the tools that plans can name.

    Args:
        name: Show this tool's inputs and an example.
        json: Print the tools with their JSON Schemas.
        files: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.catalog import tools as command

    use_tool_files(files)
    return command(name, as_json=json)
