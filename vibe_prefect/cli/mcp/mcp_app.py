"""The command that serves assistants, and its help. What the command needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from vibe_prefect.cli.help_groups import DEPLOY, examples
from vibe_prefect.cli.reading.toolbox import ToolsOption, use_tool_files


def add_commands(app: App) -> None:
    """Add the command to the command line."""
    app.command(
        mcp,
        group=DEPLOY,
        help_epilogue=examples(
            "mcp", "mcp --input-root notes --output made --budget-usd 0.50", "mcp --http 8765 --tools tools.py"
        ),
    )


def mcp(  # noqa: PLR0913 - a command's options
    *,
    http: Annotated[int | None, Parameter(validator=Number(gte=1, lte=65_535))] = None,
    input_root: Path | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    budget_usd: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    max_tokens: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    tools: ToolsOption = (),
) -> int:
    """Serve an assistant as an MCP server: it can check, plan, forecast, run and report on plans, and answer approvals.

    The assistant starts this command, and speaks with it on its standard input and output. A run lasts no
    longer than the call that started it: where the assistant cancels the call or goes, it is stopped as by Ctrl-C, and
    can be resumed.

    Args:
        http: Serve at http://127.0.0.1:PORT/mcp instead, for every program of this machine.
        input_root: The only folder that tools of plans may read from; by default as the settings say.
        output: The folder for what runs make; by default as the settings say.
        budget_usd: The largest budget of a run, and of planning, in US dollars; it is the budget of those that name
            none.
        max_tokens: Likewise for tokens, input and output together.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.defaults import run_defaults
    from vibe_prefect.cli.mcp.limits import Limits
    from vibe_prefect.cli.mcp.serve import serve

    use_tool_files(tools)
    defaults = run_defaults()
    limits = Limits(
        str((input_root or Path(defaults.input_root)).resolve()),
        str((output or Path(defaults.output)).resolve()),
        budget_usd,
        max_tokens,
    )
    return serve(limits, http)
