"""Progress of a run, as a few lines of markdown."""

from __future__ import annotations

from collections.abc import Sequence

from vibe_prefect.reporting.words import SYMBOLS
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.escape import markdown
from vibe_prefect.text.units import counted, listed, rough

BAR = 24
"""Characters of the bar."""

MAX_NAMED = 8
"""Nodes that a line names before it only counts."""


def progress_note(  # noqa: PLR0913 - options by keyword
    done: int,
    total: int,
    *,
    running: Sequence[str] = (),
    failed: Sequence[str] = (),
    reused: int = 0,
    eta: float | None = None,
) -> str:
    """Return a bar, the number of finished nodes, the running and failed nodes, and the time left.

    Args:
        done: Number of nodes that have completed, failed or been skipped.
        total: Number of all nodes.
        running: Ids of the nodes that are being worked on.
        failed: Ids of the nodes that failed.
        reused: Number of finished nodes that were reused from an earlier run.
        eta: Seconds until the end; `None` when it is not known.
    """
    reuse_note = f" ({reused:,} reused)" if reused else ""
    part = min(1.0, done / total) if total else 1.0
    head = f"`{bar(part)}` **{int(100 * part)} %** - {done:,} of {counted(total, 'node')} done{reuse_note}"
    eta_note = f", about {rough(eta)} left" if eta is not None and done < total else ""
    parts = [head + eta_note, _named(ExecutionStatus.RUNNING, running), _named(ExecutionStatus.FAILED, failed)]
    return "\n\n".join(part for part in parts if part) + "\n"


def bar(part: float) -> str:
    """Return a bar of `BAR` characters; it is full only when all is done, and empty only when nothing is."""
    full = BAR if part >= 1 else min(int(part * BAR), BAR - 1)
    full = max(full, 1) if part > 0 else 0
    return "█" * full + "░" * (BAR - full)


def _named(status: ExecutionStatus, ids: Sequence[str]) -> str:
    if not ids:
        return ""
    return f"{SYMBOLS[status]} {status}: {listed([f'**{markdown(id, 100)}**' for id in ids], MAX_NAMED)}"
