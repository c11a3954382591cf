"""Nodes that a child run has brought to their ends, as the run that started it takes them over."""

from __future__ import annotations

from dataclasses import dataclass

from vibe_prefect.core.fallback import fallback_of
from vibe_prefect.core.feedback import Failure
from vibe_prefect.engine.records.storage import NodeRecord
from vibe_prefect.engine.run.unexecuted import Unexecuted
from vibe_prefect.reporting.report import NodeReport
from vibe_prefect.reporting.times.spans import Span, moment
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.run.measure import Meter
from vibe_prefect.text.sendable import MAX_STATE, sendable

Shown = tuple[Unexecuted, str | None, Span | None]
"""A state in which Prefect shows a node, its message, and the time of the work."""


@dataclass(frozen=True, slots=True)
class TakenRecord:
    """Record of a node that completed in a child run."""

    record: NodeRecord
    """The record."""

    reused: bool
    """Whether the child run reused it."""

    @property
    def shown(self) -> tuple[Shown, ...]:
        """How Prefect shows the node; one that has a fallback first as failed."""
        fallback = fallback_of(self.record["result"])
        begin = moment(self.record["started_at"])
        span = None if begin is None else Span(begin, begin + self.record["duration"])
        if self.reused:
            return ((Unexecuted.KEPT, None, None),)
        if fallback is None:
            return ((Unexecuted.DONE, None, span),)
        message = f"{fallback.error_type}: {fallback.error}"
        return (Unexecuted.FAILED, message, span), (Unexecuted.FELL_BACK, message, None)


@dataclass(frozen=True, slots=True)
class TakenFailure:
    """Failure of a node that did not complete in a child run."""

    failure: Failure
    """The failure."""

    meter: Meter | None = None
    """Its attempts there; `None` where nothing is known of them."""

    @property
    def shown(self) -> tuple[Shown, ...]:
        """How Prefect shows the node."""
        begin = moment(self.meter.started_at) if self.meter is not None else None
        span = Span(begin, begin + self.meter.duration) if self.meter is not None and begin is not None else None
        message = sendable(f"{self.failure.error_type}: {self.failure.message}", MAX_STATE)
        return ((Unexecuted.FAILED, message, span),)


def failure_in(report: NodeReport) -> TakenFailure | None:
    """Return the failure of a node that was executed in a child run and failed; `None` for any other end.

    Args:
        report: The node's report there.
    """
    if report.status is not ExecutionStatus.FAILED or not report.executed:
        return None
    failure = Failure(
        report.error_type or "RuntimeError", report.error or "", report.quality, report.evidence, report.failure_kind
    )
    provenance = report.provenance
    meter = Meter(
        tries=list(provenance.attempts) if provenance else [],
        cpu_time=report.cpu_time or 0.0,
        thread=report.cpu_scope == "thread",
        memory_usage=report.memory or 0,
        tool_calls=list(provenance.tool_calls) if provenance else [],
        tool_calls_left_out=provenance.tool_calls_left_out if provenance else 0,
    )
    if report.tokens is not None or report.cost_usd is not None:
        usage = {name: getattr(report, name) for name in ("input_tokens", "output_tokens", "cost_usd")}
        meter.charge({name: value for name, value in usage.items() if value is not None})
    return TakenFailure(failure, meter)
