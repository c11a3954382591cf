"""Attempts of an adaptive run: each a run of its own, with a plan that was edited by what came of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import NonNegativeFloat, NonNegativeInt, TypeAdapter, ValidationError

from vibe_prefect.results import ExecutionStatus

MAX_LINES = 30
"""Lines about edits or differences that an attempt keeps."""

MAX_LINE = 300
"""Characters of such a line."""


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """One attempt."""

    run_name: str
    """Name of its flow run."""

    status: ExecutionStatus
    """Status in which it ended."""

    quality: float
    """Quality of the run, 0 to 1; see `replanning.adaptation.run_quality`."""

    executed: int
    """Number of nodes that it worked on."""

    reused: int
    """Number of nodes that it reused."""

    failed: int
    """Number of nodes that failed."""

    tokens: NonNegativeInt | None
    """Tokens that its nodes used; `None` where that is not known."""

    cost_usd: NonNegativeFloat | None
    """US dollars that its nodes cost; `None` where that is not known."""

    changes: tuple[str, ...] = ()
    """Reasons of the edits that led to its plan, a line for each node; empty for the first attempt."""

    differences: tuple[str, ...] = ()
    """Fields in which its plan differs from that of the attempt before, a line each."""

    outcome: str = ""
    """What followed: `replanned`, or why no further attempt was made."""


@dataclass(frozen=True, slots=True)
class RunHistory:
    """History of an adaptive run before one of its attempts."""

    attempts: tuple[RunAttempt, ...] = ()
    """The attempts so far, first to last."""

    changes: tuple[str, ...] = ()
    """Reasons of the edits that led to the plan of the next attempt."""

    differences: tuple[str, ...] = ()
    """Fields in which the plan of the next attempt differs."""

    spent_tokens: NonNegativeInt = 0
    """Tokens that all attempts have used, what they reused and the replans included."""

    spent_usd: NonNegativeFloat = 0.0
    """US dollars that they have cost, likewise."""

    def to_json(self) -> str:
        """Return it as JSON."""
        return _adapter().dump_json(self).decode()

    @classmethod
    def from_json(cls, text: object) -> RunHistory | None:
        """Read what `to_json` returned; `None` for anything else."""
        try:
            return _adapter().validate_json(text) if isinstance(text, str) else None
        except ValidationError:
            return None


def bounded_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return lines as an attempt keeps them: of bounded number and length."""
    texts = [" ".join(line.split()) for line in lines[:MAX_LINES]]
    kept = [text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..." for text in texts]
    return (*kept, *([f"and {len(lines) - MAX_LINES:,} more"] if len(lines) > MAX_LINES else []))


@cache
def _adapter() -> TypeAdapter[RunHistory]:
    return TypeAdapter(RunHistory)
