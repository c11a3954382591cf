"""What the help of commands shares: headings, in the order in which people come to need them, an option, examples."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Group, Parameter

from vibe_prefect.cli.exits import PROGRAM

WRITE = Group("Write plans", sort_key=1)
RUN = Group("Run them", sort_key=2)
LOOK = Group("Look at runs", sort_key=3)
DEPLOY = Group("Deploy", sort_key=4)
KEEP = Group("Housekeeping", sort_key=5)
OPTIONS = Group("Options", sort_key=6)

JsonOption = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Print nothing but one JSON document, at the end; messages go to standard error.",
    ),
]
"""The option `--json` of a command."""


def examples(*lines: str) -> str:
    """Return the examples below the help of a command; each line is what follows the program's name."""
    return "\n".join(["Examples:", *(f"  {PROGRAM} {line}" for line in lines)])
