"""Spans of time in which nodes were worked on, and how much of that was side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from vibe_prefect.provenance import Attempt


@dataclass(frozen=True, slots=True)
class Span:
    """Begin and end of an attempt, in seconds since 1970."""

    begin: float
    """Its begin."""

    end: float
    """Its end; the begin while it is at work."""

    failed: bool = False
    """Whether the attempt failed."""


def moment(text: str | None) -> float | None:
    """Return a time written as ISO 8601 in seconds since 1970, without a zone as UTC; `None` when it is none."""
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def attempt_spans(attempts: Iterable[Attempt]) -> tuple[Span, ...]:
    """Return the spans of attempts, in order; one whose begin is no time is left out."""
    begins = ((attempt, moment(attempt.started_at)) for attempt in attempts)
    return tuple(
        Span(begin, begin + attempt.duration, attempt.error is not None)
        for attempt, begin in begins
        if begin is not None
    )


def side_by_side(spans: Iterable[Span]) -> float | None:
    """Return the part of the time in spans that overlapping saved, 0 to 1; `None` where there is no time in them."""
    ordered = sorted(spans, key=lambda span: span.begin)
    together = sum(span.end - span.begin for span in ordered)
    covered, until = 0.0, float("-inf")
    for span in ordered:
        covered += max(0.0, span.end - max(span.begin, until))
        until = max(until, span.end)
    return 1 - covered / together if together > 0 else None
