"""Table of a run that has ended: status, duration, quality and cost of each node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import columns, one_line
from vibe_prefect.cli.display.outcomes import outcome_lines
from vibe_prefect.cli.display.tree import guides
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.plan.graph import graph_of_run
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import duration, headline, money, ratio, spending, standing
from vibe_prefect.results import ExecutionStatus

MAX_TREE = 60
"""Number of nodes up to which a run is shown whole."""

MAX_ROWS = 20
"""Number of nodes that are shown of a larger run: those that failed, then those that took longest."""

_STATUS_STYLES = {
    ExecutionStatus.COMPLETED: "green",
    ExecutionStatus.FAILED: "red",
    ExecutionStatus.SKIPPED: "yellow",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column that is shown only where some node has a value for it."""

    title: str
    value: Callable[[NodeReport], float | None]
    show: Callable[[float | None], str]


_COLUMNS = (
    _Column("time", lambda node: node.duration, duration),
    _Column("expected", lambda node: node.expected, duration),
    _Column("quality", lambda node: node.quality, ratio),
    _Column("cost", lambda node: node.cost_usd, money),
)


def summary(report: RunReport, width: int | None) -> list[Text]:
    """Return the lines of the table.

    Args:
        report: The run.
        width: Largest width of a line in columns; `None` for no limit.
    """
    leads = dict(guides(graph_of_run(report.plan)))
    nodes = report.nodes if len(report.nodes) <= MAX_TREE else _most_telling(report)
    used = [column for column in _COLUMNS if any(column.value(node) is not None for node in nodes)]
    is_complete = len(nodes) == len(report.nodes)
    rows = [_row(node, leads[node.id] if is_complete else "", used) for node in nodes]
    lines = columns([_heading(used), *rows], width)
    omitted = len(report.nodes) - len(nodes)
    return [*lines, Text(f"  and {omitted:,} more", "dim")] if omitted else lines


def print_summary(screen: Screen, report: RunReport) -> None:
    """Print the table of a run, and its result."""
    if screen.lively:
        for line in summary(report, screen.limit):
            screen.say(line)
        screen.say()
    status = standing(report)
    result = "; ".join(filter(None, [headline(report), spending(report.totals)]))
    screen.say(Text.assemble(STATUS_STYLES[status].terminal, " ", one_line(result)))
    for line in outcome_lines(report, screen.limit):
        screen.say(line)


def _most_telling(report: RunReport) -> tuple[NodeReport, ...]:
    failed = report.having(ExecutionStatus.FAILED)
    remaining = [node for node in report.nodes if node.status is not ExecutionStatus.FAILED]
    remaining.sort(key=lambda node: -(node.duration or 0.0))
    return (*failed, *remaining)[:MAX_ROWS]


def _heading(used: list[_Column]) -> list[Text]:
    titles = [Text(title, "dim") for title in ("  node", "work", "status")]
    return [*titles, *(Text(column.title, "dim", justify="right") for column in used)]


def _row(node: NodeReport, lead: str, used: list[_Column]) -> list[Text]:
    status = ", ".join(["reused" if node.reused else node.status.value, *([node.remark] if node.remark else [])])
    return [
        Text.assemble(STATUS_STYLES[node.status].terminal, " ", (lead, "dim"), one_line(node.id)),
        Text(_work(node), "cyan"),
        Text(status, _STATUS_STYLES.get(node.status, "")),
        *(_cell(column, node) for column in used),
    ]


def _cell(column: _Column, node: NodeReport) -> Text:
    value = column.value(node)
    return Text("" if value is None else column.show(value), "dim", justify="right")


def _work(node: NodeReport) -> str:
    return f"{node.type}, {one_line(node.tool)}" if node.tool else node.type.value
