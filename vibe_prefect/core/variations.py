"""Variations of one node's output: how each was scored, and which is the node's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

BEST_OF = "best_of"
"""Key of the variations in the metadata of a node's result."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One of the variations of a node's output."""

    number: int
    """Its number, from 1."""

    score: float | None = None
    """Its score, the higher the better; `None` where it has none."""

    error: str | None = None
    """Reason why it, or its judgement, failed; `None` where both succeeded."""

    reasons: tuple[str, ...] = ()
    """Reasons of the score in the words of the tool that judged."""

    output: Any = None
    """Its output; `None` for the best, whose output is the node's, and where it failed."""


@dataclass(frozen=True, slots=True)
class Variations:
    """All variations of a node's output."""

    best: int
    """Number of the one that is the node's output."""

    by: str
    """Name of the tool that scored them."""

    all: tuple[Variation, ...]
    """The variations by their numbers."""

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        others = [_told(variation) for variation in self.all if variation.number != self.best]
        best = next(variation for variation in self.all if variation.number == self.best)
        return f"the best of {len(self.all)} by {self.by}: {_told(best)}; the others: {', '.join(others)}"


def variations_of(result: object) -> Variations | None:
    """Read the variations in a node's result; `None` where it has none."""
    metadata = cast("Mapping[str, Any]", result).get("metadata") if isinstance(result, Mapping) else None
    data = cast("Mapping[str, Any]", metadata).get(BEST_OF) if isinstance(metadata, Mapping) else None
    if data is None:
        return None
    try:
        variations = _adapter().validate_python(data)
    except ValidationError:
        return None
    return variations if any(one.number == variations.best for one in variations.all) else None


def _told(variation: Variation) -> str:
    if variation.score is None:
        return f"#{variation.number} failed ({variation.error})"
    return f"#{variation.number} {variation.score:.6g}"


@cache
def _adapter() -> TypeAdapter[Variations]:
    return TypeAdapter(Variations)
