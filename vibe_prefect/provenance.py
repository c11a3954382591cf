"""Provenance of a node's result: the run that executed it, its attempts, and the calls that its last attempt made.

It is kept in the node's result, in its record and in the report of the run, so that a run which reuses the node can
explain it as well. Texts are without secrets and have a bound; what is cut from them is counted in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True)
class RunLabel:
    """Id and name of a run, as they were when it executed a node."""

    run_id: str
    """Prefect's id of the flow run."""

    run_name: str
    """Prefect's name of the flow run."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a node."""

    started_at: str
    """Start, ISO 8601."""

    duration: float = 0.0
    """Seconds from its start to its end; 0 until then."""

    error_type: str | None = None
    """Class name of the exception that ended it; `None` where it succeeded."""

    error: str | None = None
    """Text of the exception, cut; `None` where the attempt succeeded."""

    wait: float | None = None
    """Seconds between its end and the start of the next attempt; `None` for the last one."""


@dataclass(frozen=True, slots=True)
class NodeProvenance:
    """Provenance of a node's result."""

    run: RunLabel | None = None
    """Run that executed the node; `None` outside of Prefect."""

    attempts: tuple[Attempt, ...] = ()
    """Every attempt, first to last."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> NodeProvenance | None:
        """Read what `to_dict` returned; `None` where there is nothing, or something else.

        Provenance explains a result and decides nothing, so one that cannot be read counts as unknown.
        """
        if data is None:
            return None
        try:
            return _adapter().validate_python(data)
        except ValidationError:
            return None


@cache
def _adapter() -> TypeAdapter[NodeProvenance]:
    return TypeAdapter(NodeProvenance)
