"""Failed and overridden nodes of a run, and what helps, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import counted, one_line, wrapped, wrapped_error
from vibe_prefect.reporting.next_steps import advice, decisions, next_steps, same_failures, verdict
from vibe_prefect.reporting.report import NodeReport, RunReport

MAX_ERRORS = 20
"""Errors that are shown in full before their nodes are only counted."""

MAX_NAMED = 8
"""Nodes that are named before one error; the rest is counted."""


def outcome_lines(report: RunReport, width: int | None) -> Iterator[Text]:
    """Yield the lines about nodes that failed, the same error once, and about gates that a person has overridden.

    Args:
        report: The run.
        width: Largest width of a line in columns; `None` for no limit.
    """
    failures = same_failures(report)
    for nodes in failures[:MAX_ERRORS]:
        label = Text("  ") if nodes[0].refused else Text.assemble("  ", (_names(nodes), "bold red"), ": ")
        yield from wrapped_error(label, verdict(nodes[0], report), width)
    omitted = sum(len(nodes) for nodes in failures[MAX_ERRORS:])
    if omitted:
        yield Text(f"  and {omitted:,} more", "dim")
    for question in report.questions:
        about = ", ".join(question.open_items)
        text = f"  {one_line(question.node_id)} asks about {one_line(about)}: {one_line(question.text)}"
        yield from wrapped(Text(text, "yellow"), width)
    for node in report.nodes:
        texts = advice(node, report) if node.fallback is not None else decisions(node, report)
        for text in texts:
            label = "" if node.acceptance is not None or node.fallback is not None else f"{one_line(node.id)}: "
            yield from wrapped(Text(f"  {label}{one_line(text)}", "yellow"), width)


def print_next_steps(screen: Screen, report: RunReport) -> None:
    """Print the commands that help after a run, and when to use each."""
    for step in next_steps(report):
        screen.say(f"{one_line(step.purpose)}:", "dim")
        screen.say(f"  {one_line(step.command)}")


def _names(nodes: Sequence[NodeReport]) -> str:
    named = ", ".join(one_line(node.id) for node in nodes[:MAX_NAMED])
    rest = len(nodes) - MAX_NAMED
    return f"{named} and {counted(rest, 'other node')}" if rest > 0 else named
