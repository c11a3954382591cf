"""Values that a run brings to its plan: the inputs that were given, and the facts of the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

Reuse = Literal["run", "plan"]
"""Runs whose records a run may reuse: itself and the one that it resumes, or every run of the plan with this value."""

ReplanBy = Literal["rule", "model"]
"""Editor of a plan after a run: rules, or the default model."""

DEFAULT_ZONE = "UTC"
"""Time zone of a run that no schedule with a zone of its own started."""

FACT_NAMES = ("date", "name", "scheduled_for", "timezone")
"""Names of the facts of a run."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Facts of a run that templates can name: those of the first run of its resume chain."""

    name: str
    """Name of that run."""

    due: datetime
    """Time at which it was due, with a zone: late, repeated and resumed runs mean the same time."""

    zone: str = DEFAULT_ZONE
    """IANA name of the time zone in which templates read that time."""

    def values(self) -> dict[str, str]:
        """Return the facts as templates read them, by name."""
        local = self.due.astimezone(self._zone())
        return {
            "date": f"{local:%Y-%m-%d}",
            "name": self.name,
            "scheduled_for": local.isoformat(timespec="seconds"),
            "timezone": self.zone,
        }

    def _zone(self) -> tzinfo:
        if self.zone == DEFAULT_ZONE:
            return UTC
        from zoneinfo import ZoneInfo

        return ZoneInfo(self.zone)


def known_zone(name: object) -> str | None:
    """Return the name of a time zone where it is one that this machine knows."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name).key if isinstance(name, str) else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@dataclass(frozen=True)
class RunValues:
    """Values that a run brings to its plan."""

    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Inputs that were given, by name, as they were given."""

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Value of each input, by name: the given one, else the plan's default."""

    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Facts of the run, by name; empty before the run has begun."""

    contents: Mapping[str, str] = field(default_factory=dict[str, str])
    """Hash of what a node reads from outside, by the ids of the nodes that ask for it; empty before it is read."""


@dataclass(frozen=True, slots=True)
class NamedValues:
    """Inputs, facts and items that a node names, and so all of them that it is given. They enter its key."""

    inputs: tuple[str, ...] = ()
    """Names of the inputs, sorted."""

    facts: tuple[str, ...] = ()
    """Names of the facts, sorted."""

    items: tuple[str, ...] = ()
    """Names of the items that it runs for, sorted."""

    def of(self, values: RunValues) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the inputs and the facts that the node names, as far as they are known."""
        return (
            {name: values.inputs[name] for name in self.inputs if name in values.inputs},
            {name: values.facts[name] for name in self.facts if name in values.facts},
        )


NOTHING_NAMED = NamedValues()
"""A node that names no input, no fact and no item."""
