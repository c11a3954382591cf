"""Acceptances: a gate refused a node's output, and a person let it pass, with a name and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ACCEPTED = "accepted"
"""Key of an acceptance in the metadata of a gate's result, and in the feedback about the gate."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The override of a gate that refused: the evidence that stays with the gate."""

    by: str
    """Name of the person who let it pass."""

    because: str
    """The person's reason."""

    at: str
    """Time of it, ISO 8601."""

    run: str
    """Name of the run in which the gate refused."""

    def to_dict(self) -> dict[str, str]:
        """Return it as JSON data."""
        return asdict(self)


def acceptance_in(facts: Mapping[str, Any]) -> Acceptance | None:
    """Read the acceptance in a result's metadata or in a node's feedback; `None` where there is none.

    Args:
        facts: The metadata or the feedback.
    """
    match facts.get(ACCEPTED):
        case {"by": str(by), "because": str(because), "at": str(at), "run": str(run)}:
            return Acceptance(by, because, at, run)
        case _:
            return None
