"""Fallbacks: a node failed, and what its plan names for that case stands in for its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

FALLBACK = "fallback"
"""Key of a fallback in the metadata of a node's result, and in the feedback about the node; also the remark on it."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """The stand-in for the output of a node that failed: why, and where it comes from."""

    error_type: str
    """Class name of the exception that the node failed with."""

    error: str
    """Its text."""

    use: str | None = None
    """Id of the node whose output stands in; `None` for a value of the plan."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)

    @property
    def origin(self) -> str:
        """What stands in, in words."""
        return "a value of the plan" if self.use is None else f"the output of {self.use!r}"


def fallback_in(facts: Mapping[str, Any]) -> Fallback | None:
    """Read the fallback in a result's metadata or in a node's feedback; `None` where there is none.

    Args:
        facts: The metadata or the feedback.
    """
    match facts.get(FALLBACK):
        case {"error_type": str(error_type), "error": str(error), "use": str() | None as use}:
            return Fallback(error_type, error, use)
        case _:
            return None


def fallback_of(result: object) -> Fallback | None:
    """Read the fallback that stands in for a node's result; `None` where the node made the result itself."""
    metadata = cast("Mapping[str, Any]", result).get("metadata") if isinstance(result, Mapping) else None
    return fallback_in(cast("Mapping[str, Any]", metadata)) if isinstance(metadata, Mapping) else None
