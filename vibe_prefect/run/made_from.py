"""What people decided about a node's output, and the hash of such outputs that a result was made from.

Content keys speak of the plan alone: they stay as they are when a person edits what a node made, or answers otherwise.
So a record says which decided outputs it was made from, and counts for these alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
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


def decided_hash(outputs: Iterable[bytes]) -> str | None:
    """Return the hash of the outputs of a node's dependencies that people decided on; `None` where there are none.

    Args:
        outputs: These outputs, as `jsonable` writes them, in the order of the dependencies.
    """
    contents = list(outputs)
    if not contents:
        return None
    digests = [hashlib.sha256(content).digest() for content in contents]
    return hashlib.sha256(b"".join(digests)).hexdigest()
