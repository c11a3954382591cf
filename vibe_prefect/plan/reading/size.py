"""Size of a plan among the parameters of a run, which the server bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vibe_prefect.core.models import WorkflowPlan

MAX_INLINE_BYTES = 256_000
"""The largest plan that stands among the parameters of a run itself; half of what a server takes by default."""

SMALL_BYTES = 64_000
"""Up to here nobody asks the server for its limit."""


def slim_data(plan: WorkflowPlan) -> dict[str, Any]:
    """Return a plan as JSON data without what it leaves at the default."""
    return plan.model_dump(mode="json", exclude_defaults=True)


def weight(data: Mapping[str, Any]) -> int:
    """Return the bytes of data among parameters, as a server counts them: escapes for all but ASCII."""
    return len(json.dumps(data, separators=(",", ":")))


def inline_limit(parameter_bytes: int | None) -> int:
    """Return the largest plan that stands among parameters of a limited size; `None` for no limit that is known."""
    return MAX_INLINE_BYTES if parameter_bytes is None else min(MAX_INLINE_BYTES, parameter_bytes // 2)
