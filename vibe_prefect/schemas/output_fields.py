"""Which parts an output can have by its JSON Schema, so that a template's misspelt field is found before the run.

The answer is safe in one direction: a part is called missing only where no data that fit the schema could have it in a
template. What a schema leaves open, and every keyword that only narrows it further, counts as possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.errors import did_you_mean
from vibe_prefect.templates.names import Step

MAX_ALTERNATIVES = 64
"""How many combinations of `anyOf` are told apart; beyond that a schema counts as less strict than it is."""

MAX_LOOKED_AT = 200
"""How many schemas that apply to one value are looked at; beyond that anything counts as possible."""

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
    """A schema, and the one that its references start from."""

    schema: Any
    root: Any

    def at(self, schema: Any) -> _Rules:
        """Return a schema within this one; one with an `$id` is a root of its own."""
        own = isinstance(schema, dict) and "$id" in schema
        return _Rules(schema, schema if own else self.root)


_Value = tuple[_Rules, ...]
"""What is known of a value: all of it holds. Nothing known means that anything is possible."""


def missing_part(schema: object, name: str, steps: Sequence[Step]) -> str | None:
    """Tell why an output cannot have a part; `None` where it can.

    Args:
        schema: JSON Schema of the output.
        name: What messages call the output.
        steps: The way to the part.
    """
    values: list[_Value] = [(_Rules(schema, schema),)]
    for number, step in enumerate(steps):
        below = _limited(found for value in values for found in _below_all(value, step))
        if not below:
            return _message(f"{name}{_shown(steps[:number])}", values, step)
        values = below
    return None


def _below_all(value: _Value, step: Step) -> list[_Value]:
    """Return the alternatives for a part of a value of which several schemas hold."""
    found: list[_Value] = [()]
    for rules in value:
        found = _both(found, _below(rules, step, {}))
    return found


def _both(some: list[_Value], others: list[_Value]) -> list[_Value]:
    if not some or not others:
        return []
    if len(some) * len(others) > MAX_ALTERNATIVES:
        return some
    return [(*one, *other) for one in some for other in others]


def _limited(values: Iterable[_Value]) -> list[_Value]:
    found = list(values)
    return found if len(found) <= MAX_ALTERNATIVES else [()]


def _below(rules: _Rules, step: Step, known: dict[int, list[_Value]]) -> list[_Value]:
    """Return the alternatives for a part of a value by one schema; empty when there can be no such part.

    Args:
        rules: The schema.
        step: The way to the part.
        known: What is known already, by schema; it grows. A schema that is still being looked at says nothing.
    """
    schema = rules.schema
    if not isinstance(schema, dict) or len(known) > MAX_LOOKED_AT:
        return [()]
    place = id(cast("object", schema))
    if place not in known:
        known[place] = [()]
        found = _own(rules, step)
        for applied in _all_of(rules):
            found = _both(found, _below(applied, step, known))
        for options in _options(rules):
            found = _both(found, _limited(one for option in options for one in _below(option, step, known)))
        known[place] = found
    return known[place]


def _own(rules: _Rules, step: Step) -> list[_Value]:
    stated = cast("dict[str, Any]", rules.schema).get("type")
    kinds = cast("list[Any]", stated) if isinstance(stated, list) else list(_KINDS) if stated is None else [stated]
    return _limited(found for kind in kinds for found in _of_kind(rules, kind, step))


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
    known = _mapping(schema, "properties")
    if step in known:
        return [(rules.at(known[step]),)]
    if isinstance(step, int):
        return []
    others = schema.get("additionalProperties", True)
    if hasattr(dict, cast("str", step)) or _mapping(schema, "patternProperties"):
        return [()]
    return [] if others is False else [(rules.at(others),)]


def _item(rules: _Rules, step: int | None) -> list[_Value]:
    schema = cast("dict[str, Any]", rules.schema)
    first, rest = schema.get("prefixItems", []), schema.get("items", True)
    if not isinstance(first, list) or isinstance(rest, list):
        return [()]
    items = cast("list[Any]", first)
    if step is not None and 0 <= step < len(items):
        return [(rules.at(items[step]),)]
    others: list[_Value] = [] if rest is False else [(rules.at(rest),)]
    return others if step is not None else [*((rules.at(item),) for item in items), *others]


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
    found = rules.root
    if not reference.startswith("#/") and reference != "#":
        return _Rules(True, None)
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            return _Rules(True, None)
        found = cast("dict[str, Any]", found)[key]
    return rules.at(found)


def _mapping(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    found = schema.get(keyword)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _list(schema: dict[str, Any], keyword: str) -> list[Any]:
    found = schema.get(keyword)
    return cast("list[Any]", found) if isinstance(found, list) else []


def _message(where: str, values: Iterable[_Value], step: Step) -> str:
    seen: dict[int, _Rules] = {}
    for rules in (rules for value in values for rules in value):
        _collect(rules, seen)
    applied = list(seen.values())
    names = list(dict.fromkeys(name for rules in applied for name in _mapping(rules.schema, "properties")))
    kinds = sorted({kind for rules in applied for kind in _kinds(rules.schema)})
    if not names and kinds:
        where = f"{where} is {' or '.join(dict.fromkeys(_KINDS[kind][1] for kind in kinds))} and"
    if step is None:
        return f"{where} has no items"
    hint = did_you_mean(step, names) if isinstance(step, str) else ""
    known = f"; it has {', '.join(names)}" if names else ""
    return f"{where} has no {step!r}{hint or known}"


def _collect(rules: _Rules, seen: dict[int, _Rules]) -> None:
    """Collect a schema and all that apply to the same value."""
    place = id(rules.schema)
    if not isinstance(rules.schema, dict) or place in seen or len(seen) > MAX_LOOKED_AT:
        return
    seen[place] = rules
    for below in (*_all_of(rules), *(option for options in _options(rules) for option in options)):
        _collect(below, seen)


def _kinds(schema: dict[str, Any]) -> list[str]:
    stated = schema.get("type")
    kinds = cast("list[Any]", stated) if isinstance(stated, list) else [stated]
    return [kind for kind in kinds if kind in _KINDS]


def _shown(steps: Iterable[Step]) -> str:
    return "".join(f".{step}" if isinstance(step, str) else "[...]" if step is None else f"[{step}]" for step in steps)
