"""JSON Schema keywords whose work is bounded.

A schema comes from a plan, and data come from a model, so neither may take an interpreter hostage. The stock keywords
search patterns with an engine that cannot be stopped, compare the items of a list pair by pair, and follow references
that double at each step for as long as it takes.

`jsonschema` and `regex` are imported at the first check: most plans are read without one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from time import thread_time
from typing import TYPE_CHECKING, Any, cast

from vibe_prefect.errors import UsageError, shorten

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

CHECK_SECONDS = 30.0
"""CPU time that one check of data against a schema may take, in seconds."""

PATTERN_SECONDS = 2.0
"""Time limit in seconds for one `pattern` of a schema."""

_until: ContextVar[float] = ContextVar("until")


class SchemaError(UsageError, ValueError):
    """A JSON Schema that data cannot be checked against: not valid, not complete in itself, or too much work."""


@contextmanager
def bounded_work() -> Generator[None]:
    """Bound the CPU time of the checks within to `CHECK_SECONDS`.

    Raises:
        SchemaError: They took longer.
    """
    token = _until.set(thread_time() + CHECK_SECONDS)
    try:
        yield
    finally:
        _until.reset(token)


@cache
def bounded_validator(dialect: Any) -> Any:
    """Return the validator class of a dialect with bounded keywords; its checks run within `bounded_work`.

    Args:
        dialect: A validator class of `jsonschema`.
    """
    import jsonschema.validators

    keywords = {name: keyword for name, keyword in _KEYWORDS.items() if name in dialect.VALIDATORS}
    validator_class = cast("Any", jsonschema.validators).extend(dialect, keywords)
    validator_class.evolve = _evolve
    return validator_class


def compile_pattern(pattern: str) -> Any:
    """Compile a `pattern` of a schema.

    Raises:
        SchemaError: It is not a regular expression.
    """
    import regex  # pyright: ignore[reportMissingTypeStubs]

    engine = cast("Any", regex)
    try:
        return engine.compile(pattern)
    except (engine.error, RecursionError, OverflowError, ValueError) as error:
        raise SchemaError(f"pattern {shorten(pattern)} is not a regular expression: {error}") from None


def _evolve(self: Any, **changes: Any) -> Any:
    """Replace the stock method, through which every step of a check goes.

    The stock one also looks at `$schema` of each part and returns to the keywords without bounds.
    """
    import attrs

    _count_work()
    return attrs.evolve(self, **changes)


def _count_work() -> None:
    if thread_time() > _until.get():
        raise SchemaError(
            f"the check took more than {CHECK_SECONDS:g} s of computing time; simplify the schema "
            "(references that lead to the same place in many ways multiply)"
        )


def _mismatch(message: str) -> ValidationError:
    from jsonschema.exceptions import ValidationError

    return ValidationError(message)


def _matches(pattern: str, text: str) -> bool:
    # This engine rather than `re`, which could not be stopped and would stop all other nodes too.
    _count_work()
    try:
        return compile_pattern(pattern).search(text, timeout=PATTERN_SECONDS, concurrent=True) is not None
    except TimeoutError:
        raise SchemaError(
            f"pattern {shorten(pattern)} searched for more than {PATTERN_SECONDS:g} s; simplify it"
        ) from None


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield _mismatch(f"{shorten(instance)} does not match {shorten(pattern)}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], instance: Any, _schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, below in patterns.items():
        for name, value in cast("dict[str, Any]", instance).items():
            if _matches(pattern, name):
                yield from validator.descend(value, below, path=name, schema_path=pattern)


def _additional_properties(validator: Any, below: Any, instance: Any, schema: dict[str, Any]) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    properties = cast("dict[str, Any]", instance)
    patterns = schema.get("patternProperties", {})
    stated = schema.get("properties", {})
    additional = [
        name for name in properties if name not in stated and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if isinstance(below, dict):
        for name in additional:
            yield from validator.descend(properties[name], below, path=name)
    elif below is False and additional:
        yield _mismatch(f"Additional properties are not allowed ({_listed(additional)} unexpected)")


def _unevaluated_properties(validator: Any, below: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    properties = cast("dict[str, Any]", instance)
    evaluated = _evaluated(validator, properties, schema)
    unevaluated = [
        name for name in properties if name not in evaluated and not _is_valid(validator, properties[name], below)
    ]
    if unevaluated:
        yield _mismatch(f"Unevaluated properties are not allowed ({_listed(unevaluated)} unexpected)")


def _evaluated(validator: Any, instance: dict[str, Any], schema: Any) -> set[str]:
    """Return the properties of an object that a schema has evaluated, those of the schemas it applies included."""
    if not isinstance(schema, dict):
        return set()
    rules = cast("dict[str, Any]", schema)
    names = {name for name in instance if name in rules.get("properties", {})}
    names |= {name for name in instance for pattern in rules.get("patternProperties", {}) if _matches(pattern, name)}
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if keyword in rules:
            names |= {name for name, value in instance.items() if _is_valid(validator, value, rules[keyword])}
    for target in _targets(validator, rules):
        inner = validator.evolve(schema=target.contents, _resolver=target.resolver)
        names |= _evaluated(inner, instance, target.contents)
    for applied in _applied(validator, instance, rules):
        names |= _evaluated(validator, instance, applied)
    return names


def _targets(validator: Any, rules: dict[str, Any]) -> Iterator[Any]:
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in rules:
            yield validator._resolver.lookup(rules[keyword])  # noqa: SLF001 - jsonschema has no public one
    if "$recursiveRef" in rules:
        from referencing.jsonschema import lookup_recursive_ref

        yield lookup_recursive_ref(validator._resolver)  # noqa: SLF001 - jsonschema has no public one


def _applied(validator: Any, instance: dict[str, Any], rules: dict[str, Any]) -> Iterator[Any]:
    """Yield the schemas within a schema that apply to the same object and accept it."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from (applied for applied in rules.get(keyword, ()) if _is_valid(validator, instance, applied))
    yield from (applied for name, applied in rules.get("dependentSchemas", {}).items() if name in instance)
    if "if" in rules:
        holds = _is_valid(validator, instance, rules["if"])
        yield from (rules["if"], rules.get("then", True)) if holds else (rules.get("else", True),)


def _unique_items(_validator: Any, unique: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list):
        items = [_hashable(item) for item in cast("list[Any]", instance)]
        if len(set(items)) < len(items):
            yield _mismatch(f"{shorten(cast('object', instance))} has non-unique elements")


def _hashable(value: Any) -> Any:
    """Return what is equal for equal JSON data: `1` is `1.0` there, and `true` is not `1`.

    Numbers become texts, since a text's hash cannot be foreseen: many numbers with one hash would take the square of
    their count.
    """
    match value:
        case bool():
            return ("truth", value)
        case int() | float():
            return ("number", f"{int(value):x}" if value == value // 1 else repr(value))
        case list():
            return ("list", *map(_hashable, cast("list[Any]", value)))
        case dict():
            return frozenset((name, _hashable(item)) for name, item in cast("dict[str, Any]", value).items())
        case _:
            return value


def _is_valid(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _listed(names: list[str]) -> str:
    quoted = ", ".join(map(repr, sorted(names)))
    return f"{quoted} {'was' if len(names) == 1 else 'were'}"


_KEYWORDS = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "unevaluatedProperties": _unevaluated_properties,
    "uniqueItems": _unique_items,
}
