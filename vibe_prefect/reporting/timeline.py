"""Timeline of a run: a bar for each node that it worked on."""

from __future__ import annotations

from dataclasses import dataclass

from vibe_prefect.reporting.report import NodeReport, RunReport, moment
from vibe_prefect.results import ExecutionStatus

WIDTH = 1_000
"""Length of the timeline in units: 0 is the run's begin, this its end."""

MIN_BAR = 3.0
"""Units of the shortest bar, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One node on the timeline."""

    node: NodeReport
    begin: float
    """Seconds after the run's begin."""

    seconds: float
    """Seconds that it took, or has been running."""

    x: float
    width: float
    critical: bool
    """Whether it is on the critical path."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All bars, by when they begin."""

    bars: tuple[Bar, ...]
    seconds: float
    """Seconds from the run's begin to the last moment that is known of it."""

    reused: tuple[NodeReport, ...]
    """Nodes that were reused from an earlier run."""


def timeline(report: RunReport) -> Timeline:
    """Lay out the nodes that a run worked on. A node that still runs lasts until the last moment that is known."""
    begins = {node.id: at for node in report.nodes if node.executed and (at := moment(node.started_at)) is not None}
    origin = min([*begins.values(), *_moments(report.started_at)], default=0.0)
    durations = {id: report.by_id[id].duration or 0.0 for id in begins}
    horizon = max([begins[id] + durations[id] for id in begins] + _moments(report.ended_at), default=origin)
    scale = WIDTH / max(horizon - origin, 1e-9)
    critical = frozenset(report.critical_path)
    bars: list[Bar] = []
    for id, at in sorted(begins.items(), key=lambda item: item[1]):
        node = report.by_id[id]
        duration = horizon - at if node.status is ExecutionStatus.RUNNING else durations[id]
        width = min(WIDTH, max(MIN_BAR, duration * scale))
        x = min((at - origin) * scale, WIDTH - width)
        bars.append(Bar(node, at - origin, duration, round(x, 2), round(width, 2), id in critical))
    return Timeline(tuple(bars), horizon - origin, tuple(node for node in report.nodes if node.reused))


def _moments(text: str | None) -> list[float]:
    at = moment(text)
    return [] if at is None else [at]
