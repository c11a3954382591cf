"""Preflight of a tool: it checks before the first node of a run whether the calls of the run can succeed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vibe_prefect.tools.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that a run will make."""

    node: str
    """Id of the node."""

    inputs: Mapping[str, Any]
    """The inputs as the plan has them; templates in them are not filled in."""

    workspace: Workspace
    """The folders of the run."""


Preflight = Callable[[Sequence[PlannedCall]], Awaitable[Sequence[str]]]
"""Takes the calls of one tool that a run will make, and returns why some of them cannot succeed; the run is then
refused. It is quick, and raises nothing: what it cannot find out, it logs."""
