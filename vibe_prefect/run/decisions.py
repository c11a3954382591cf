"""What people decided about a node's output: edits, and answers to what it asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from vibe_prefect.core.feedback import ANSWERS
from vibe_prefect.provenance import NodeProvenance


def answers_in(result: Any) -> tuple[str, ...]:
    """Return the answers of people in a node's result, a line each; empty for a node that asked nothing."""
    metadata = cast("Mapping[str, Any]", result).get("metadata") if isinstance(result, Mapping) else None
    listed = cast("Mapping[str, Any]", metadata).get(ANSWERS) if isinstance(metadata, Mapping) else None
    return tuple(map(str, cast("list[Any]", listed))) if isinstance(listed, list | tuple) else ()


def is_decided(result: Any, provenance: NodeProvenance | None) -> bool:
    """Return whether a person has edited a node's output, or answered what it asked."""
    return (provenance is not None and provenance.edited is not None) or bool(answers_in(result))
