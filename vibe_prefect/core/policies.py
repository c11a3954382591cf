"""Execution policies of nodes: those of tool, node type, plan and node, resolved into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from vibe_prefect.core.models import NodePolicy, NodeResources

LOCAL = "local"
"""The placement that is always there: the process of the run itself."""

ANY_MACHINE = NodeResources()
"""No need of a machine."""

PLACE_FIELDS = ("run_on", "resources")
"""Fields that a node inherits from its parent, too: they say where it runs."""

MAX_RETRY_DELAY = 600.0
"""Longest delay before a retry, in seconds."""


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """Execution policy of a node, all layers resolved."""

    retries: int = 0
    """Number of further attempts at a failing node."""

    retry_delays: tuple[float, ...] = ()
    """Seconds before each retry."""

    retry_jitter: float = 0.0
    """Largest random deviation of a delay, as a part of it."""

    timeout: float | None = None
    """Seconds that one attempt may take."""

    limits: tuple[str, ...] = ()
    """Names of Prefect global concurrency limits to hold a slot of."""

    tags: tuple[str, ...] = ()
    """Prefect tags of the author's."""

    cache: Literal["default", "recompute", "disable"] = "default"
    """Whether a record is reused, the node runs again in every run, or no record is kept."""

    fresh: Literal["content"] | None = None
    """Whether the content of what the tool reads from outside decides about reuse, too."""

    run_on: str = LOCAL
    """Name of the placement where the node runs."""

    resources: NodeResources = ANY_MACHINE
    """What it needs of the machine there."""


_DEFAULTS = ExecutionPolicy(retry_jitter=0.3)


def resolve_policy(*layers: NodePolicy) -> ExecutionPolicy:
    """Merge the layers into one policy; a later layer overrides an earlier one."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: value for name in layer.model_fields_set if (value := getattr(layer, name)) is not None}
    if not merged:
        return _DEFAULTS
    retries: int = merged.get("retries", 0)
    delay: float = merged.get("retry_delay", 1.0)
    factor: float = merged.get("retry_backoff", 2.0)
    return ExecutionPolicy(
        retries=retries,
        retry_delays=tuple(min(MAX_RETRY_DELAY, delay * factor**attempt) for attempt in range(retries)),
        retry_jitter=merged.get("retry_jitter", 0.3),
        timeout=merged.get("timeout"),
        limits=tuple(merged.get("limits", ())),
        tags=tuple(merged.get("tags", ())),
        cache=merged.get("cache", "default"),
        fresh=merged.get("fresh"),
        run_on=merged.get("run_on", LOCAL),
        resources=merged.get("resources", ANY_MACHINE),
    )
