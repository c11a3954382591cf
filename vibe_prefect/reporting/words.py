"""Words that all forms of a report share for statuses, numbers and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.reporting.report import NodeReport, RunReport, Totals
from vibe_prefect.reporting.times.spans import moment
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.units import counted, seconds

SYMBOLS = {status: style.symbol for status, style in STATUS_STYLES.items()}
UNKNOWN = "–"  # noqa: RUF001 - a dash that is as wide as a digit
"""Text for a value that is not known."""

MAX_GATES = 5
"""Scores that a headline names."""

STATUS_ORDER = (
    ExecutionStatus.FAILED,
    ExecutionStatus.RUNNING,
    ExecutionStatus.PENDING,
    ExecutionStatus.SKIPPED,
    ExecutionStatus.COMPLETED,
)
"""Statuses in the order of attention that they ask for."""

_BROKEN = frozenset({"Failed", "Crashed", "Cancelled", "Cancelling", "TimedOut"})
"""The names of Prefect's states in which a run ended before it was complete."""


def headline(report: RunReport) -> str:
    """Return the result in one line, such as `Failed in 12.3 s - 9 nodes: 1 failed, 8 completed; 2 gates: 0.40, 0.90`.

    Outputs that were not judged, or not written by a model, are counted as well.
    """
    totals = report.totals
    time_taken = f" in {seconds(report.seconds)}" if report.seconds is not None else ""
    judged = judgements(totals.qualities, {} if report.simulated else totals.remarks)
    return f"{verdict(report)}{time_taken} - {'; '.join([counts(totals), *judged])}"


def judgements(qualities: Sequence[float], remarks: Mapping[str, int]) -> list[str]:
    """Return what was judged and what was not, in parts such as `2 gates: 0.40, 0.90` and `1 not judged`.

    Args:
        qualities: What judges and checks measured, the lowest first.
        remarks: Number of nodes that have each remark.
    """
    judged = [f"{counted(len(qualities), 'gate')}: {gates(qualities)}"] if qualities else []
    return judged + [f"{count:,} {remark}" for remark, count in remarks.items()]


def gates(qualities: Sequence[float]) -> str:
    """Return the qualities that judges and checks measured, the lowest first; `UNKNOWN` where nothing was judged."""
    lowest = ", ".join(ratio(quality) for quality in qualities[:MAX_GATES])
    remaining = len(qualities) - MAX_GATES
    return f"{lowest} and {remaining:,} higher" if remaining > 0 else lowest or UNKNOWN


def status(node: NodeReport) -> str:
    """Return a node's status and the reservation about its output, such as `completed, not judged`."""
    word = node.status.value
    return ", ".join([f"{word} (reused)" if node.reused else word, *([node.remark] if node.remark else [])])


def verdict(report: RunReport) -> str:
    """Return the run's outcome in a word or two; Prefect's own where it says more than the status."""
    if report.status is ExecutionStatus.COMPLETED:
        word = "Completed"
    elif report.status is ExecutionStatus.FAILED:
        word = report.state if report.state in _BROKEN else "Failed"
    else:
        word = report.state or report.status.value.title()
    return f"{word}{' (simulated)' if report.simulated else ''}"


def standing(report: RunReport) -> ExecutionStatus:
    """Return the status for a run's colour: a run that broke off has failed, even if no node has."""
    return ExecutionStatus.FAILED if report.state in _BROKEN else report.status


def counts(totals: Totals) -> str:
    """Return the number of nodes by status, such as `17 nodes: 1 failed, 3 skipped, 13 completed`."""
    total = counted(totals.nodes, "node")
    if totals.nodes and totals.statuses[ExecutionStatus.COMPLETED] == totals.nodes:
        return total + (f", {totals.reused:,} reused" if totals.reused else "")
    pairs = [(totals.statuses[status], status.value) for status in STATUS_ORDER if totals.statuses[status]]
    parts = [f"{count:,} {word}" for count, word in pairs]
    return f"{total}: {', '.join(parts)}" if parts else total


def money(value: float | None) -> str:
    """Return US dollars, with more digits the less it is."""
    if value is None:
        return UNKNOWN
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"


def cost(totals: Totals) -> str:
    """Return the price of the calls to models, and the number of nodes of unknown cost."""
    missing = f" (+ {counted(totals.unpriced, 'node')} of unknown cost)" if totals.unpriced else ""
    if totals.cost_usd is None:
        return f"unknown for {counted(totals.unpriced, 'node')}" if totals.unpriced else UNKNOWN
    return f"{money(totals.cost_usd)}{missing}"


def tokens(totals: Totals) -> str:
    """Return the numbers of tokens that models read and wrote."""
    if totals.tokens is None:
        return UNKNOWN
    return f"{number(totals.input_tokens)} in, {number(totals.output_tokens)} out"


def spending(totals: Totals) -> str:
    """Return tokens and cost of a run together, such as `1,200 tokens, $0.0150`; empty where no model was asked."""
    known_tokens = f"{number(totals.tokens)} tokens" if totals.tokens is not None else ""
    known_cost = cost(totals) if totals.cost_usd is not None or totals.unpriced else ""
    if known_cost.startswith("unknown"):
        known_cost = f"cost {known_cost}"
    return ", ".join(filter(None, [known_tokens, known_cost]))


def number(value: int | None) -> str:
    """Return a count with thousands set apart."""
    return UNKNOWN if value is None else f"{value:,}"


def duration(value: float | None) -> str:
    """Return a duration with its unit."""
    return UNKNOWN if value is None else seconds(value)


def ratio(value: float | None) -> str:
    """Return a ratio such as a quality with two digits."""
    return UNKNOWN if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    """Return a part of 1 in percent."""
    return UNKNOWN if value is None else f"{value:.0%}"


def when(text: str | None) -> str:
    """Return a time where this process runs, to the second and with the zone; text that is not a time is not shown."""
    at = moment(text)
    return UNKNOWN if at is None else f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def instant(text: str | None) -> str:
    """Return a time in UTC for programs, such as `2026-03-04T05:06:07Z`; empty for text that is not a time."""
    at = moment(text)
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
