"""Failed and overridden nodes of a run, and what helps, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import error_lines, one_line
from vibe_prefect.reporting.next_steps import advice, next_steps, same_failures, verdict
from vibe_prefect.reporting.report import NodeReport, RunReport

MAX_FAILED = 20
"""Failed nodes that are named."""


def outcome_lines(report: RunReport) -> Iterator[Text]:
    """Yield the lines about nodes that failed, the same error once, and about gates that a person has overridden."""
    left = MAX_FAILED
    for nodes in same_failures(report):
        if left > 0:
            yield from _failure(verdict(nodes[0], report), nodes, left)
        left -= len(nodes)
    if left < 0:
        yield Text(f"  and {-left:,} more", "dim")
    for node in report.nodes:
        if node.acceptance is not None:
            yield from (Text(f"  {one_line(text)}", "yellow") for text in advice(node, report))


def print_next_steps(screen: Screen, report: RunReport) -> None:
    """Print the commands that help after a run, and when to use each."""
    for step in next_steps(report):
        screen.say(f"{one_line(step.purpose)}:", "dim")
        screen.say(f"  {one_line(step.command)}")


def _failure(error: str, nodes: Sequence[NodeReport], most: int) -> Iterator[Text]:
    first, *further_lines = error_lines(error)
    ids = ", ".join(one_line(node.id) for node in nodes[:most])
    yield Text(f"  {first}", "red") if nodes[0].refused else Text.assemble("  ", (ids, "bold red"), f": {first}")
    yield from (Text(f"      {line}") for line in further_lines)
