"""Checks of the inputs that a plan declares, and their schemas in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Finding, did_you_mean, shorten
from vibe_prefect.schemas.schema import SchemaError, mismatches, schema_problems

MAX_INPUTS = 100
"""Inputs that a plan may declare; each is a field of its form."""

KINDS = ("string", "integer", "number", "boolean", "array", "object", "null")
"""Types of JSON Schema."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_NAME_RULE = "use letters, digits and '_', at most 100, the first a letter"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema", "$anchor", "$dynamicAnchor")
"""Keywords that mean something else where the schema becomes a part of a larger one, as in the form of a deployment."""


def declaration_findings(inputs: Mapping[str, Any]) -> Iterator[tuple[DataPath, Finding]]:
    """Yield what is wrong with the inputs that a plan declares, each with its path within them."""
    if len(inputs) > MAX_INPUTS:
        yield (), Finding(f"{len(inputs):,} inputs; a plan may declare {MAX_INPUTS}")
        return
    for name, schema in inputs.items():
        if (better := better_name(name)) is not None:
            yield (name,), Finding.advised(f"{shorten(name)} is not a valid name of an input", better)
        problems = list(_schema_findings(schema))
        yield from (((name, *path), finding) for path, finding in problems)
        if not problems and "default" in schema:
            yield from (((name, "default", *path), finding) for path, finding in _default_findings(schema))


def type_words(schema: Mapping[str, Any]) -> str:
    """Return a JSON Schema's type in a word or two, such as `string`, `list of integer` or `string or null`."""
    if "anyOf" in schema:
        return " or ".join(type_words(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if isinstance(schema.get("type"), list):
        return " or ".join(map(str, schema["type"]))
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {type_words(items) if isinstance(items, Mapping) else 'anything'}"  # pyright: ignore[reportUnknownArgumentType]
    if schema.get("format") == "jinja":
        return "template"
    return str(schema.get("type", "anything"))


def better_name(name: str) -> str | None:
    """Return advice on a name that templates cannot have as it is; `None` for one that they can."""
    if _NAME.fullmatch(name):
        return None
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"write {plain!r}" if _NAME.fullmatch(plain) else _NAME_RULE


def _schema_findings(schema: Mapping[str, Any]) -> Iterator[tuple[DataPath, Finding]]:
    stated = schema.get("type")
    if isinstance(stated, str) and stated not in KINDS:
        hint = did_you_mean(stated, KINDS)
        yield ("type",), Finding.advised(f"expected one of {', '.join(KINDS)}, found {stated!r}", hint)
        return
    references = list(_references(schema, ()))
    for path in references:
        yield path, Finding.advised(f"the schema of an input cannot have {path[-1]!r}", "write the schema out")
    if not references:
        yield from ((problem.path, Finding(problem.message)) for problem in schema_problems(schema))


def _references(value: object, path: DataPath) -> Iterator[DataPath]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            if key in _REFERENCES and isinstance(item, str):
                yield (*path, key)
            elif key not in ("default", "const", "enum", "examples"):  # data, not schemas
                yield from _references(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _references(item, (*path, index))


def _default_findings(schema: Mapping[str, Any]) -> Iterator[tuple[DataPath, Finding]]:
    try:
        for mismatch in mismatches(schema, schema["default"]):
            yield mismatch.path, Finding(mismatch.message)
    except SchemaError as error:
        yield (), Finding(str(error))
