"""Content keys: what a node's result depends on, as one hash.

`key(node) = sha256(canonical JSON of schema version, type, description, parameters, work, variation and the keys of
its data dependencies)`. A key is computed once, when the plan is compiled, from values alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple, cast

import orjson
from pydantic_core import PydanticSerializationError, to_jsonable_python

from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.run_values import NOTHING_NAMED, NamedValues, RunValues

KEY_SCHEMA = 1
"""Raised whenever the meaning of a key changes, so that records of the old meaning are not taken for the new."""

NODE_FIELDS_IN_KEY = frozenset(
    {
        "type",
        "description",
        "parameters",
        "dependencies",
        "optional_dependencies",
        "best_of",
        "for_each",
        "item_name",
        "key",
        "max_items",
        "min_completed",
    }
)
"""Fields of a node that decide its result. Dependencies enter by their keys, `best_of` and those about items with what
does the work."""

NODE_FIELDS_NOT_IN_KEY = frozenset(
    {"id", "children", "estimated_duration", "policy", "concurrency", "when", "on_error"}
)
"""Fields that only say where, how and whether a node runs."""

POLICY_FIELDS_IN_KEY = frozenset({"cache", "fresh", "variation"})
"""`cache` enters as a salt, unless it is `default`; `fresh` as the hash of what is read."""

POLICY_FIELDS_NOT_IN_KEY = frozenset(
    {"retries", "retry_delay", "retry_backoff", "retry_jitter", "timeout", "limits", "tags", "run_on", "resources"}
)


def node_key(node: WorkflowNode, work: str, variation: str | int | None, dependency_keys: Sequence[str]) -> str:
    """Return a node's key, 64 hexadecimal digits.

    Args:
        node: The node.
        work: Who does it: a tool with its version, a handler, or the simulation.
        variation: The resolved policy's `variation`.
        dependency_keys: Keys of the nodes it depends on by data, in the order of its dependencies.

    Raises:
        TypeError: The parameters hold something that JSON cannot.
    """
    parts = (KEY_SCHEMA, str(node.type), node.description, node.parameters, work, variation, dependency_keys)
    return hashlib.sha256(canonical_json(parts, nulls=int(variation is None))).hexdigest()


class KeyParts(NamedTuple):
    """Parts of a node's key that its plan and its tools decide; the values that it names come from the run."""

    work: str
    """Who does its work: a tool with its version, a handler, or the simulation."""

    variation: str | int | None = None
    """The resolved policy's `variation`."""

    named: NamedValues = NOTHING_NAMED
    """The inputs and facts that it names."""

    is_fresh: bool = False
    """Whether the content of what it reads from outside is part of the key."""

    @property
    def is_fixed(self) -> bool:
        """Whether no value of a run is part of the key, but for those in the keys of its dependencies."""
        return not (self.named.inputs or self.named.facts or self.is_fresh)

    def work_with(self, values: RunValues, content: str | None = None) -> str:
        """Return what stands in the key for the doing of the work.

        Args:
            values: Values of the run; those of the inputs and facts that the node names count.
            content: Hash of what it reads from outside; `None` where it does not count, or is not known yet.
        """
        work = self.work
        if self.named is not NOTHING_NAMED:
            parts = zip(("inputs", "run"), self.named.of(values), strict=True)
            work += "".join(f" with {name} {canonical_json(part).decode()}" for name, part in parts if part)
        return work if content is None else f"{work} of content {content}"


def canonical_json(value: Any, *, nulls: int = 0) -> bytes:
    """Return the one JSON text for a value: keys sorted, no spaces.

    Args:
        value: The value.
        nulls: Number of `None` that are known to be in it; where its text has no more, none of them is another number.

    Raises:
        TypeError: The value holds something that JSON cannot.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # large ints, other keys than text, models, sets: slower, but what JSON can say it says
        return _slow_canonical_json(value)
    if text.count(b"null") > nulls:  # orjson writes NaN and infinity as null
        _check_finite(value)
    return text


def _check_finite(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(cast("dict[str, Any]", item).values())
        elif isinstance(item, list | tuple):
            stack.extend(cast("list[Any]", item))
        elif isinstance(item, float) and not isfinite(item):
            raise TypeError(f"{item} is not a finite number")


def _slow_canonical_json(value: Any) -> bytes:
    try:
        to_jsonable_python(value)  # refuses circles and great depth before the next line walks into them
        plain = to_jsonable_python(_with_sorted_sets(value))
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(str(error)) from error


def _with_sorted_sets(value: Any) -> Any:
    """Return a value with its sets as lists in one order; their own differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted((_with_sorted_sets(item) for item in cast("set[Any]", value)), key=canonical_json)
    if isinstance(value, Mapping):
        return {key: _with_sorted_sets(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_with_sorted_sets(item) for item in cast("list[Any]", value)]
    return value
