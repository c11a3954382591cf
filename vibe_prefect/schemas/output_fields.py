"""Parts that an output can have by its JSON Schema, so that a template's misspelt field is found before the run.

The answer is safe in one direction: a part is called missing only where no data that fit the schema could have it in a
template. What a schema leaves open, and every keyword that only narrows it further, counts as possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.errors import did_you_mean
from vibe_prefect.templates.reads import Step

MAX_ALTERNATIVES = 64
"""Combinations of `anyOf` that are distinguished; beyond that a schema counts as less strict than it is."""

MAX_LOOKED_AT = 200
"""Schemas applying to one value that are examined; beyond that anything counts as possible."""

_KINDS: dict[str, tuple[type, str]] = {
    "string": (str, "text"),
    "array": (list, "a list"),
    "object": (dict, "an object"),
    "integer": (int, "a number"),
    "number": (float, "a number"),
    "boolean": (bool, "a truth value"),
    "null": (type(None), "nothing"),
}


@dataclass(frozen=True, slots=True)
class _Rules:
    """A schema, with the root schema that its references start from."""

    schema: Any
    root: Any

    def at(self, schema: Any) -> _Rules:
        """Return a schema within this one; one with an `$id` is a root of its own."""
        is_root = isinstance(schema, dict) and "$id" in schema
        return _Rules(schema, schema if is_root else self.root)


_Value = tuple[_Rules, ...]
"""Schemas that all hold for a value. An empty tuple means that anything is possible."""


def missing_part(schema: object, name: str, steps: Sequence[Step]) -> str | None:
    """Return why an output cannot have a part; `None` where it can.

    Args:
        schema: JSON Schema of the output.
        name: What messages call the output.
        steps: The way to the part.
    """
    values: list[_Value] = [(_Rules(schema, schema),)]
    for number, step in enumerate(steps):
        below = _limited(alternative for value in values for alternative in _below_all(value, step))
        if not below:
            return _message(f"{name}{_shown(steps[:number])}", values, step)
        values = below
    return None


def _below_all(value: _Value, step: Step) -> list[_Value]:
    """Return the alternatives for a part of a value of which several schemas hold."""
    alternatives: list[_Value] = [()]
    for rules in value:
        alternatives = _both(alternatives, _below(rules, step, {}))
    return alternatives


def _both(values: list[_Value], other_values: list[_Value]) -> list[_Value]:
    if not values or not other_values:
        return []
    if len(values) * len(other_values) > MAX_ALTERNATIVES:
        return values
    return [(*first, *second) for first in values for second in other_values]


def _limited(values: Iterable[_Value]) -> list[_Value]:
    alternatives = list(values)
    return alternatives if len(alternatives) <= MAX_ALTERNATIVES else [()]


def _below(rules: _Rules, step: Step, memo: dict[int, list[_Value]]) -> list[_Value]:
    """Return the alternatives for a part of a value by one schema; empty when there can be no such part.

    Args:
        rules: The schema.
        step: The way to the part.
        memo: What is known already, by schema; it grows. A schema that is still being examined says nothing.
    """
    schema = rules.schema
    if not isinstance(schema, dict) or len(memo) > MAX_LOOKED_AT:
        return [()]
    schema_id = id(cast("object", schema))
    if schema_id not in memo:
        memo[schema_id] = [()]
        alternatives = _own(rules, step)
        for applied in _all_of(rules):
            alternatives = _both(alternatives, _below(applied, step, memo))
        for options in _options(rules):
            alternatives = _both(
                alternatives, _limited(alternative for option in options for alternative in _below(option, step, memo))
            )
        memo[schema_id] = alternatives
    return memo[schema_id]


def _own(rules: _Rules, step: Step) -> list[_Value]:
    stated = cast("dict[str, Any]", rules.schema).get("type")
    kinds = cast("list[Any]", stated) if isinstance(stated, list) else list(_KINDS) if stated is None else [stated]
    return _limited(alternative for kind in kinds for alternative in _of_kind(rules, kind, step))


def _of_kind(rules: _Rules, kind: Any, step: Step) -> list[_Value]:
    if not isinstance(kind, str) or kind not in _KINDS:
        return [()]
    if kind == "object" and step is not None:
        return _field(rules, step)
    if isinstance(step, str):
        return [()] if hasattr(_KINDS[kind][0], step) else []
    if kind == "array":
        return _item(rules, step)
    return [(_Rules({"type": "string"}, None),)] if kind in ("string", "object") else []


def _field(rules: _Rules, step: Step) -> list[_Value]:
    schema = cast("dict[str, Any]", rules.schema)
    properties = _mapping(schema, "properties")
    if step in properties:
        return [(rules.at(properties[step]),)]
    if isinstance(step, int):
        return []
    additional = schema.get("additionalProperties", True)
    if hasattr(dict, cast("str", step)) or _mapping(schema, "patternProperties"):
        return [()]
    return [] if additional is False else [(rules.at(additional),)]


def _item(rules: _Rules, step: int | None) -> list[_Value]:
    schema = cast("dict[str, Any]", rules.schema)
    prefix_items, other_items = schema.get("prefixItems", []), schema.get("items", True)
    if not isinstance(prefix_items, list) or isinstance(other_items, list):
        return [()]
    items = cast("list[Any]", prefix_items)
    if step is not None and 0 <= step < len(items):
        return [(rules.at(items[step]),)]
    alternatives: list[_Value] = [] if other_items is False else [(rules.at(other_items),)]
    return alternatives if step is not None else [*((rules.at(item),) for item in items), *alternatives]


def _all_of(rules: _Rules) -> Iterator[_Rules]:
    """Yield the schemas that hold besides a schema's own keywords."""
    schema = cast("dict[str, Any]", rules.schema)
    if isinstance(reference := schema.get("$ref"), str):
        yield _target(rules, reference)
    yield from map(rules.at, _list(schema, "allOf"))


def _options(rules: _Rules) -> Iterator[list[_Rules]]:
    """Yield groups of schemas of each of which at least one holds."""
    for keyword in ("anyOf", "oneOf"):
        if options := _list(cast("dict[str, Any]", rules.schema), keyword):
            yield [rules.at(option) for option in options]


def _target(rules: _Rules, reference: str) -> _Rules:
    """Return what a reference within the schema leads to; any other one says nothing."""
    target = rules.root
    if not reference.startswith("#/") and reference != "#":
        return _Rules(True, None)
    for segment in reference.split("/")[1:]:
        key = segment.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or key not in target:
            return _Rules(True, None)
        target = cast("dict[str, Any]", target)[key]
    return rules.at(target)


def _mapping(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    value = schema.get(keyword)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(schema: dict[str, Any], keyword: str) -> list[Any]:
    value = schema.get(keyword)
    return cast("list[Any]", value) if isinstance(value, list) else []


def _message(subject: str, values: Iterable[_Value], step: Step) -> str:
    collected: dict[int, _Rules] = {}
    for rules in (rules for value in values for rules in value):
        _collect(rules, collected)
    applied = list(collected.values())
    names = list(dict.fromkeys(name for rules in applied for name in _mapping(rules.schema, "properties")))
    kinds = sorted({kind for rules in applied for kind in _kinds(rules.schema)})
    if not names and kinds:
        subject = f"{subject} is {' or '.join(dict.fromkeys(_KINDS[kind][1] for kind in kinds))} and"
    if step is None:
        return f"{subject} has no items"
    hint = did_you_mean(step, names) if isinstance(step, str) else ""
    names_hint = f"; it has {', '.join(names)}" if names else ""
    return f"{subject} has no {step!r}{hint or names_hint}"


def _collect(rules: _Rules, collected: dict[int, _Rules]) -> None:
    """Collect a schema and all that apply to the same value."""
    schema_id = id(rules.schema)
    if not isinstance(rules.schema, dict) or schema_id in collected or len(collected) > MAX_LOOKED_AT:
        return
    collected[schema_id] = rules
    for below in (*_all_of(rules), *(option for options in _options(rules) for option in options)):
        _collect(below, collected)


def _kinds(schema: dict[str, Any]) -> list[str]:
    stated = schema.get("type")
    kinds = cast("list[Any]", stated) if isinstance(stated, list) else [stated]
    return [kind for kind in kinds if kind in _KINDS]


def _shown(steps: Iterable[Step]) -> str:
    return "".join(f".{step}" if isinstance(step, str) else "[...]" if step is None else f"[{step}]" for step in steps)
