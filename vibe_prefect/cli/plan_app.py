"""The command that plans, and its help. What the command needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from vibe_prefect.cli.help_groups import WRITE, JsonOption, examples
from vibe_prefect.cli.reading.toolbox import ToolsOption, use_tool_files
from vibe_prefect.cli.reading.vibes import NO_ARGUMENTS, VibeArguments

_WISH = "What is to be made, in your own words; with --refine, the plan file to edit."
_REFINE = "Edit the plan file as this says, such as 'shorter, and a gate on claims'."
_OUTPUT = "The plan file to write; by default '<plan id>.yaml', or with --refine the file itself."
_FORCE = "Write over a file that is there."
_YES = "Take an edit that removes or changes a gate, or leads past one, without asking."
_USD = "US dollars that the model's answers may cost."
_TOKENS = "Tokens that they may use, input and output together."


def add_commands(app: App) -> None:
    """Add the command to the command line."""
    app.command(
        plan,
        group=WRITE,
        help_epilogue=examples(
            'plan "A launch week for our tea shop" --style warm --constraint "no medical claims"',
            'plan "A digest of our changelog" --source CHANGELOG.md -o digest.yaml',
            'plan "A post on green tea" --domain retail --knowledge docs/*.md',
            'plan digest.yaml --refine "shorter, and a gate on claims"',
        ),
    )


def plan(  # noqa: PLR0913 - a command's options
    wish: Annotated[str, Parameter(help=_WISH)],
    /,
    *,
    vibe: VibeArguments = NO_ARGUMENTS,
    refine: Annotated[str | None, Parameter(help=_REFINE)] = None,
    output: Annotated[Path | None, Parameter(alias="-o", help=_OUTPUT)] = None,
    force: Annotated[bool, Parameter(negative="", show_default=False, help=_FORCE)] = False,
    yes: Annotated[bool, Parameter(alias="-y", negative="", show_default=False, help=_YES)] = False,
    budget_usd: Annotated[float | None, Parameter(help=_USD, validator=Number(gt=0))] = None,
    max_tokens: Annotated[int | None, Parameter(help=_TOKENS, validator=Number(gt=0))] = None,
    json: JsonOption = False,
    tools: ToolsOption = (),
) -> int:
    """Plan a vibe with the configured language model: write a plan file, and show what it would do and cost.

    Nothing is run. The plan names registered tools and allowed models alone, and reads the files that --source names.
    """
    from vibe_prefect.cli.commands.plan import PlanOrder, plan_file, refine_file
    from vibe_prefect.cli.defaults import run_defaults

    use_tool_files(tools)
    root = Path(run_defaults().input_root)
    order = PlanOrder(
        vibe, output, force=force, budget_usd=budget_usd, max_tokens=max_tokens, input_root=root, yes=yes, as_json=json
    )
    return plan_file(wish, order) if refine is None else refine_file(wish, refine, order)
