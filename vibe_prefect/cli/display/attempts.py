"""Edits of a plan, and the attempts of an adaptive run, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import one_line

if TYPE_CHECKING:
    from vibe_prefect.replanning.adaptation import NextAttempt
    from vibe_prefect.replanning.edits import Replan
    from vibe_prefect.reporting.report import RunReport


def print_next_attempt(screen: Screen, following: NextAttempt, adapt: int) -> None:
    """Print the edits with which the next attempt of an adaptive run begins.

    Args:
        screen: The terminal.
        following: The attempt.
        adapt: Number of attempts that may follow the first.
    """
    attempts = following.history.attempts
    quality = f"quality of the last one {attempts[-1].quality:.2f}"
    screen.say()
    screen.say(Text.assemble((f"attempt {len(attempts) + 1}", "bold"), f" of at most {adapt + 1}; {quality}"))
    for line in edit_lines(following.replan):
        screen.say(line)
    for difference in following.history.differences:
        screen.say(Text.assemble(("  ~ ", "yellow"), one_line(difference)))
    screen.say()


def attempt_lines(report: RunReport) -> Iterator[Text]:
    """Yield a line for each attempt of an adaptive run: its quality, its work, and what followed."""
    for index, attempt in enumerate(report.attempts, 1):
        about = f"quality {attempt.quality:.2f}, {attempt.executed:,} executed, {attempt.reused:,} reused"
        about += f", {attempt.failed:,} failed" if attempt.failed else ""
        yield Text.assemble((f"attempt {index}  ", "dim"), f"{about}; {one_line(attempt.outcome)}")


def edit_lines(edited: Replan) -> Iterator[Text]:
    """Yield a line for the reason of each edit, and for each suggestion that is left."""
    for id, reason in edited.reasons.items():
        yield Text.assemble(("edit  ", "green"), (id, "bold"), f"  {one_line(reason)}")
    for left in edited.open:
        about = f"  {one_line(left.change)}: {one_line(left.reason)}"
        yield Text.assemble(("left  ", "yellow"), (one_line(left.node_id), "bold"), about)
