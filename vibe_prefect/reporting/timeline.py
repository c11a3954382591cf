"""Timeline of a run: a bar for each node that it worked on."""

from __future__ import annotations

from dataclasses import dataclass

from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.times.spans import moment
from vibe_prefect.results import ExecutionStatus

WIDTH = 1_000
"""Length of the timeline in units: 0 is the run's begin, this its end."""

MIN_BAR = 3.0
"""Units of the shortest bar, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One attempt on the timeline."""

    x: float
    width: float
    status: ExecutionStatus
    """Failed, or the node's status for the last attempt."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One node on the timeline, from the start of its first attempt to the end of its last."""

    node: NodeReport
    begin: float
    """Seconds after the run's begin."""

    seconds: float
    """Seconds from its start to its end, pauses before retries included; until now for a node at work."""

    x: float
    width: float
    critical: bool
    """Whether it is on the critical path."""

    segments: tuple[Segment, ...]
    """Its attempts; what is between them is a pause."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All bars, by when they begin."""

    bars: tuple[Bar, ...]
    seconds: float
    """Seconds from the run's begin to the last moment that is known of it."""

    reused: tuple[NodeReport, ...]
    """Nodes that were reused from an earlier run."""

    @property
    def retried(self) -> bool:
        """Whether any node took more than one attempt."""
        return any(len(bar.segments) > 1 for bar in self.bars)


def timeline(report: RunReport) -> Timeline:
    """Lay out the nodes that a run worked on. A node that still runs lasts until the last moment that is known."""
    spans = {node.id: node.spans for node in report.nodes if node.spans}
    origin = min([node[0].begin for node in spans.values()] + _moments(report.started_at), default=0.0)
    horizon = max([node[-1].end for node in spans.values()] + _moments(report.ended_at), default=origin)
    scale = WIDTH / max(horizon - origin, 1e-9)
    critical = frozenset(report.critical_path)
    bars: list[Bar] = []
    for id, attempts in sorted(spans.items(), key=lambda item: item[1][0].begin):
        node, begin = report.by_id[id], attempts[0].begin
        end = horizon if node.status is ExecutionStatus.RUNNING else attempts[-1].end
        x, width = _place(begin - origin, end - begin, scale)
        segments = _segments(node, origin, end, scale)
        bars.append(Bar(node, begin - origin, end - begin, x, width, id in critical, segments))
    return Timeline(tuple(bars), horizon - origin, tuple(node for node in report.nodes if node.reused))


def _segments(node: NodeReport, origin: float, end: float, scale: float) -> tuple[Segment, ...]:
    """Return the attempts at a node; the last one lasts until the node's end."""
    *earlier, last = node.spans
    places = [(span, _place(span.begin - origin, span.end - span.begin, scale)) for span in earlier]
    failed = [Segment(*place, ExecutionStatus.FAILED if span.failed else node.status) for span, place in places]
    return (*failed, Segment(*_place(last.begin - origin, end - last.begin, scale), node.status))


def _place(begin: float, seconds: float, scale: float) -> tuple[float, float]:
    """Return the position and the length of a bar, which can be seen however short it is."""
    width = min(WIDTH, max(MIN_BAR, seconds * scale))
    return round(min(begin * scale, WIDTH - width), 2), round(width, 2)


def _moments(text: str | None) -> list[float]:
    at = moment(text)
    return [] if at is None else [at]
