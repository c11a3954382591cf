"""JSON Schemas: the one place where schemas are examined and data are checked against them.

Nothing is ever fetched: a schema holds everything that it refers to, besides the specifications of JSON Schema itself,
which are part of the installation. What cannot work is found by `schema_problems`, before there are any data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import PydanticCustomError

from vibe_prefect.errors import shorten
from vibe_prefect.schemas.keywords import SchemaError, bounded_validator, bounded_work, compile_pattern
from vibe_prefect.templates.texts import walk_templates

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_MESSAGE = 300
"""The longest message about one place, in characters."""

MAX_APPLIED = 100_000
"""Schemas that may apply to one value, each as often as references lead to it."""

SCHEMA_PROBLEM = "json_schema"
"""Type of the pydantic errors that `sound_schema` raises; their context has `path` and `message`."""

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_SAME_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
"""Keywords whose schemas apply to the same value as the schema around them."""


@cache
def _dialects() -> dict[str, Any]:
    """Return the validator class of each dialect by its name, the newest first."""
    import jsonschema  # at the first check: most plans are read without one

    dialects = cast(
        "tuple[Any, ...]",
        (
            jsonschema.Draft202012Validator,
            jsonschema.Draft201909Validator,
            jsonschema.Draft7Validator,
            jsonschema.Draft6Validator,
            jsonschema.Draft4Validator,
        ),
    )
    names = (dialect.META_SCHEMA.get("$id") or dialect.META_SCHEMA.get("id") for dialect in dialects)
    return {str(name).rstrip("#"): dialect for name, dialect in zip(names, dialects, strict=True)}


@cache
def _specifications() -> Any:
    import jsonschema_specifications  # pyright: ignore[reportMissingTypeStubs]

    return cast("Any", jsonschema_specifications.REGISTRY)


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """One reason why data cannot be checked against a schema."""

    path: tuple[str | int, ...]
    """Path within the schema: keys and list indices."""

    message: str
    """Text: what was found and what was expected."""

    def __str__(self) -> str:
        return f"schema{_dotted(self.path)}: {self.message}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place of data that does not fit a schema."""

    path: tuple[str | int, ...]
    """Path within the data: keys and list indices."""

    message: str
    """Text: what was found and what was expected."""

    def __str__(self) -> str:
        return f"${_dotted(self.path)}: {self.message}"


def schema_problems(schema: object) -> tuple[SchemaProblem, ...]:
    """Return why data cannot be checked against a schema; empty when they can.

    Args:
        schema: A JSON Schema. Its `$schema` names the dialect: drafts 4, 6, 7, 2019-09 or 2020-12, the last by default.
    """
    return _load(schema).problems


def mismatches(schema: object, data: Any) -> list[Mismatch]:
    """Return where data do not fit a schema, sorted by place; `format` is checked.

    Raises:
        SchemaError: The schema has problems, or the check is too much work.
    """
    from referencing.exceptions import Unresolvable

    loaded = _load(schema)
    if loaded.problems:
        raise SchemaError("; ".join(map(str, loaded.problems)))
    try:
        with bounded_work():
            errors = cast("list[ValidationError]", list(loaded.validator.iter_errors(data)))
    except RecursionError:
        raise SchemaError("the data are nested too deeply, or the schema goes round in a circle") from None
    except Unresolvable as error:
        raise SchemaError(_lacking(error.ref)) from None
    except (ArithmeticError, TypeError, ValueError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"the data cannot be checked: {type(error).__name__}: {error}") from error
    misfits = [Mismatch(tuple(error.absolute_path), _message(error)) for error in errors]
    return sorted(misfits, key=str)


def sound_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Refuse a schema with problems: a validator for a tool's pydantic input, which runs when a plan is compiled.

    A schema with templates passes; it is checked again once they are filled in.

    Raises:
        PydanticCustomError: The schema has a problem; of type `SCHEMA_PROBLEM`.
    """
    if schema is None or walk_templates(schema):
        return schema
    for problem in schema_problems(schema):
        context = {"path": list(problem.path), "message": problem.message}
        raise PydanticCustomError(SCHEMA_PROBLEM, "{message}", context)
    return schema


@dataclass(frozen=True)
class _Loaded:
    """A schema as plain data of its own, with its validator."""

    validator: Any
    problems: tuple[SchemaProblem, ...]


def _load(schema: object) -> _Loaded:
    try:
        return _load_text(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return _Loaded(None, (SchemaProblem((), f"JSON cannot hold this schema: {error}"),))


@lru_cache(maxsize=64)
def _load_text(text: str) -> _Loaded:
    schema: Any = json.loads(text)
    newest = next(iter(_dialects()))
    dialect_name = cast("dict[str, Any]", schema).get("$schema", newest) if isinstance(schema, dict) else newest
    dialect = _dialects().get(dialect_name.rstrip("#")) if isinstance(dialect_name, str) else None
    if dialect is None:
        dialect_names = ", ".join(_dialects())
        return _Loaded(
            None, (SchemaProblem(("$schema",), f"unknown dialect {shorten(dialect_name)}; known are {dialect_names}"),)
        )
    bounded = bounded_validator(dialect)
    try:
        problems = _form_problems(bounded, schema) or tuple(_Examination(schema, dialect).problems())
    except RecursionError:
        problems = (SchemaProblem((), "the schema is nested too deeply"),)
    if problems:
        return _Loaded(None, problems)
    return _Loaded(bounded(schema, registry=_specifications(), format_checker=dialect.FORMAT_CHECKER), ())


def _form_problems(bounded: Any, schema: Any) -> tuple[SchemaProblem, ...]:
    """Return how a schema does not fit the specification of its dialect."""
    try:
        with bounded_work():
            errors = cast(
                "list[ValidationError]",
                list(bounded(bounded.META_SCHEMA, registry=_specifications()).iter_errors(schema)),
            )
    except SchemaError as error:
        return (SchemaProblem((), str(error)),)
    problems = [SchemaProblem(tuple(error.absolute_path), f"not a JSON Schema: {_message(error)}") for error in errors]
    return tuple(dict.fromkeys(problems))


class _Examination:
    """One pass over a schema and all that it refers to."""

    def __init__(self, schema: Any, dialect: Any) -> None:
        import referencing.jsonschema

        self._schema = schema
        self._bounded = bounded_validator(dialect)
        name = dialect.META_SCHEMA.get("$id") or dialect.META_SCHEMA.get("id")
        self._dialect = str(name).rstrip("#")
        self._specification = cast("Any", referencing.jsonschema).specification_with(name)
        self._paths = dict(_paths(schema))
        self._applied: dict[int, list[int]] = {}
        self._found: list[SchemaProblem] = []

    def problems(self) -> Iterator[SchemaProblem]:
        resource = self._specification.create_resource(self._schema)
        referred = self._walk([(resource, _specifications().resolver_with_root(resource))])
        while referred:  # what only a reference leads to is not yet known to be a schema
            for target, _ in referred:
                self._found += _form_problems(self._bounded, target.contents)
            referred = [] if self._found else self._walk(referred)
        yield from self._found
        try:
            order = list(TopologicalSorter(self._applied).static_order())
        except CycleError:
            yield SchemaProblem((), "the schema goes round in a circle: it refers to itself for one and the same value")
            return
        counts: dict[int, int] = {}
        for schema in order:
            counts[schema] = 1 + sum(counts[applied] for applied in self._applied.get(schema, ()))
        if max(counts.values(), default=0) > MAX_APPLIED:
            message = f"more than {MAX_APPLIED:,} schemas apply to one and the same value; do references multiply?"
            yield SchemaProblem((), message)

    def _walk(self, stack: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Look at schemas and everything within them; return what they refer to elsewhere."""
        referred: list[tuple[Any, Any]] = []
        while stack:
            resource, resolver = stack.pop()
            contents = cast("object", resource.contents)
            if not isinstance(contents, dict) or id(resource.contents) in self._applied:
                continue
            rules = cast("dict[str, Any]", contents)
            self._applied[id(rules)] = [id(nested) for nested in _same_place(rules)]
            self._look(rules)
            referred += self._targets(rules, resolver)
            stack += [(below, resolver.in_subresource(below)) for below in resource.subresources()]
        return [(target, resolver) for target, resolver in referred if id(target.contents) not in self._applied]

    def _look(self, rules: dict[str, Any]) -> None:
        if str(rules.get("$schema", self._dialect)).rstrip("#") != self._dialect and id(rules) in self._paths:
            self._report(rules, "$schema", "a part of a schema cannot have a dialect of its own")
        patterns = [rules.get("pattern"), *rules.get("patternProperties", {})]
        for pattern in patterns:
            try:
                compile_pattern(pattern or "")
            except SchemaError as error:
                self._report(rules, "pattern" if pattern is patterns[0] else "patternProperties", str(error))

    def _targets(self, rules: dict[str, Any], resolver: Any) -> Iterator[tuple[Any, Any]]:
        from referencing.exceptions import Unresolvable

        for keyword in _REFERENCES:
            name = rules.get(keyword)
            if not isinstance(name, str):
                continue
            try:
                resolved: Any = resolver.lookup(name)
            except (Unresolvable, LookupError, TypeError, ValueError):
                self._report(rules, keyword, _lacking(name))
                continue
            target = cast("object", resolved.contents)
            if not isinstance(target, dict | bool):
                self._report(rules, keyword, f"the schema refers to {name!r}, which is not a schema")
                continue
            self._applied[id(rules)].append(id(cast("object", target)))
            yield self._specification.create_resource(target), resolved.resolver

    def _report(self, rules: dict[str, Any], keyword: str, message: str) -> None:
        self._found.append(SchemaProblem((*self._paths.get(id(rules), ()), keyword), message))


def _paths(schema: Any) -> Iterator[tuple[int, tuple[str | int, ...]]]:
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(schema, ())]
    while stack:
        value, path = stack.pop()
        if isinstance(value, dict):
            yield id(cast("object", value)), path
            stack += [(below, (*path, name)) for name, below in cast("dict[str, Any]", value).items()]
        elif isinstance(value, list):
            stack += [(below, (*path, index)) for index, below in enumerate(cast("list[Any]", value))]


def _same_place(rules: Mapping[str, Any]) -> Iterator[Any]:
    for keyword in _SAME_PLACE:
        below = rules.get(keyword)
        if isinstance(below, list):
            yield from cast("list[Any]", below)
        elif isinstance(below, dict):
            nested = cast("dict[str, Any]", below)
            yield from nested.values() if keyword.startswith("depend") else (nested,)


def _lacking(reference: str) -> str:
    return f"the schema refers to {reference!r}, which it does not hold"


def _message(error: ValidationError) -> str:
    """Return what is wrong with a place, without all of its data."""
    return error.message if len(error.message) <= MAX_MESSAGE else f"{error.message[: MAX_MESSAGE - 3]}..."


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
