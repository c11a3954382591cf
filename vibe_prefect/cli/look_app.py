"""The commands that look at runs, and their help. What a command needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from vibe_prefect.cli.help_groups import LOOK, WRITE, examples
from vibe_prefect.cli.reading.toolbox import ToolsOption, use_tool_files
from vibe_prefect.core.run_values import ReplanBy
from vibe_prefect.errors import UsageError


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    app.command(
        report,
        group=LOOK,
        help_epilogue=examples(
            "report", "report release-digest-calm-otter -o pages/otter.html", "run plan.yaml --report"
        ),
    )
    app.command(
        output,
        group=LOOK,
        help_epilogue=examples(
            "output",
            "output release-digest-calm-otter blog",
            "output release-digest-calm-otter --to out",
            "output release-digest-calm-otter post --explain",
            "output release-digest-calm-otter --explain --json | jq '.nodes[].tool_calls[].model_calls[].model'",
        ),
    )
    app.command(
        watch,
        group=LOOK,
        help_epilogue=examples("watch", "watch release-digest-calm-otter", "watch && vibe-prefect report"),
    )
    app.command(
        runs, group=LOOK, help_epilogue=examples("runs", "runs --limit 100", "runs --json | jq -r '.runs[].run_name'")
    )
    app.command(
        replan,
        group=WRITE,
        help_epilogue=examples(
            "replan release-digest-calm-otter -o better.yaml",
            "replan --by model --budget-usd 0.1 -o better.yaml",
            "replan --json | jq .forecast.costs",
        ),
    )


def report(
    run: str | None = None,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    tools: ToolsOption = (),
) -> int:
    """Write a page about a run, in one HTML file: what came of each node, with pictures, times and costs.

    The run may have ended, be in progress, or have run elsewhere.

    Args:
        run: The run's name or id; by default the newest one.
        output: The file; by default '<run name>.html' in the current folder. A page that is there is replaced.
        json: Write no page, and print the report as one JSON document; messages go to standard error.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.write_report import report as command

    if json and output is not None:
        raise UsageError("--json prints the report, and --output writes a page; give one of them")
    use_tool_files(tools)
    return command(run, output, as_json=json)


def output(  # noqa: PLR0913 - a command's options
    run: str | None = None,
    node: str | None = None,
    /,
    *,
    to: Path | None = None,
    explain: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    tools: ToolsOption = (),
) -> int:
    """Print what a node of a run made, copy it, or explain it; without a node, list the results of the run.

    Args:
        run: The run's name or id; by default the newest one.
        node: The node's id; by default the last nodes, and those that made pictures, sound or film.
        to: Copy files and texts to this folder; what is there under their names is replaced.
        explain: Say who made it and why it was accepted or refused: run, model, prompt, inputs, attempts, evidence.
        json: With --explain, print nothing but one JSON document; messages go to standard error.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    if explain and to is not None:
        raise UsageError("--to copies what was made, and --explain explains it; give one of them")
    if json and not explain:
        raise UsageError("--json needs --explain; the data that a node made is printed as JSON without it")
    use_tool_files(tools)
    if explain:
        from vibe_prefect.cli.commands.explain import explain_run

        return explain_run(run, node, as_json=json)
    from vibe_prefect.cli.commands.output import output as command

    return command(run, node, to)


def watch(run: str | None = None, /, *, tools: ToolsOption = ()) -> int:
    """Follow a run in another process, such as on a worker, until it ends; the exit code is the run's.

    Ctrl-C ends the watching and not the run.

    Args:
        run: The run's name or id; by default the newest one.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.watch import watch as command

    use_tool_files(tools)
    return command(run)


def runs(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 20,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """List the newest runs: how far each came, when, and what it takes on disk.

    Args:
        limit: How many runs at most.
        json: Print one JSON document.
    """
    from vibe_prefect.cli.commands.runs import runs as command

    return command(limit, as_json=json)


def replan(  # noqa: PLR0913 - a command's options
    run: str | None = None,
    /,
    *,
    by: ReplanBy = "rule",
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    budget_usd: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    max_tokens: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    tools: ToolsOption = (),
) -> int:
    """Edit the plan of a run by what came of the run, and show what resuming it with the edit would do and cost.

    Nothing is run. 'resume RUN --plan FILE' then runs what changed, and what depends on it.

    Args:
        run: The run's name or id; by default the newest one. It has ended.
        by: Who edits the plan: 'rule', or 'model' for the model that is configured.
        output: Write the edited plan to this file: .json, or YAML with the reasons under any other name.
        force: Write over a file that is there.
        json: Print nothing but one JSON document; messages go to standard error.
        budget_usd: US dollars that the model may cost that replans, and the budget of the forecast.
        max_tokens: Likewise for tokens, input and output together.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.commands.replan import ReplanRequest
    from vibe_prefect.cli.commands.replan import replan as command

    use_tool_files(tools)
    limits = {"budget_usd": budget_usd, "max_tokens": max_tokens}
    given = {name: value for name, value in limits.items() if value is not None}
    return command(ReplanRequest(run, by, given, output, as_json=json, force=force, tools=tools))
