"""A plan that is too large to be drawn, as its groups: a bar for each, divided by the statuses of its nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.timeline import WIDTH
from vibe_prefect.reporting.words import STATUS_ORDER
from vibe_prefect.results import ExecutionStatus


@dataclass(frozen=True, slots=True)
class Share:
    """Part of a group's bar: its nodes with one status."""

    x: float
    width: float
    status: ExecutionStatus


@dataclass(frozen=True, slots=True)
class GroupBar:
    """One group of nodes that can run side by side."""

    number: int
    """Number of the group, from 1."""

    first: str
    """Id of its first node."""

    nodes: int
    """Number of its nodes."""

    counts: str
    """Number of its nodes by status, in words."""

    shares: tuple[Share, ...]
    """Parts of its bar, one for each status; the largest group of the plan has the longest bar."""


def group_bars(report: RunReport) -> tuple[GroupBar, ...]:
    """Return the groups of a run in order."""
    largest = max(map(len, report.groups), default=1)
    return tuple(_bar(number, group, WIDTH / largest, report) for number, group in enumerate(report.groups, 1))


def _bar(number: int, group: tuple[str, ...], scale: float, report: RunReport) -> GroupBar:
    counts = Counter(report.by_id[id].status for id in group)
    statuses = [status for status in STATUS_ORDER if counts[status]]
    ends = accumulate((counts[status] for status in statuses), initial=0)
    shares = [
        Share(round(at * scale, 2), round(counts[one] * scale, 2), one) for at, one in zip(ends, statuses, strict=False)
    ]
    text = ", ".join(f"{counts[status]:,} {status}" for status in statuses)
    return GroupBar(number, group[0], len(group), text, tuple(shares))
