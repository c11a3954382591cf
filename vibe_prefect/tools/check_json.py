"""The tool that checks data against a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, cast

import jsonschema
import jsonschema.validators
import referencing
import regex  # pyright: ignore[reportMissingTypeStubs]
from jsonschema.exceptions import SchemaError, ValidationError
from pydantic import Field
from referencing.exceptions import Unresolvable

from vibe_prefect.errors import shorten
from vibe_prefect.tools.base import ToolCategory, ToolResult
from vibe_prefect.tools.functions import ToolInputError, tool
from vibe_prefect.tools.verdicts import Check, Report, check, verdict

MAX_CHARS = 5_000_000
"""The longest text that is read as JSON, in characters."""

PATTERN_SECONDS = 2.0
"""How long one `pattern` of a schema may search, in seconds."""

_engine = cast("Any", regex)
_registry = cast("Any", referencing.Registry)
_validator = cast("Any", jsonschema.Draft202012Validator)


class JsonReport(Report):
    """What `check_json` makes."""

    data: Any
    """The data, read where they were text, so that a node after this one gets them."""


@tool(name="check_json", category=ToolCategory.ANALYSIS, version="1")
def check_json(
    data: Annotated[Any, Field(description="Data, or text that is JSON.")],
    schema: Annotated[
        dict[str, Any] | None,
        Field(
            description="JSON Schema, draft 2020-12, `format` included. Without it: whether the text is JSON at all."
        ),
    ] = None,
) -> JsonReport | ToolResult:
    """Check that a text is JSON, and that data fit a JSON Schema; name every place that does not.

    A schema refers to nothing outside itself. A `pattern` stops after `PATTERN_SECONDS`.

    Returns:
        The report; as a failed `ToolResult` that carries it when a check did not pass.

    Raises:
        ToolInputError: The schema is not one, or a pattern in it took too long.
    """
    checks: list[Check] = []
    found = data
    if isinstance(data, str):
        found, made = _read(data)
        checks.append(made)
    if schema is not None and all(one["passed"] for one in checks):
        checks += _schema_checks(found, schema)
    if not checks:
        raise ToolInputError("check_json: there is nothing to check: data are data already; give a schema")
    report = JsonReport(passed=all(one["passed"] for one in checks), checks=checks, data=found)
    return verdict(report, checks)


check_json.spec.examples.append(
    {"data": "{{ outputs['facts'].text }}", "schema": {"type": "object", "required": ["title"]}}
)


def _read(text: str) -> tuple[Any, Check]:
    if len(text) > MAX_CHARS:
        raise ToolInputError(f"check_json: the text has {len(text):,} characters; at most {MAX_CHARS:,} are read")
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return None, check("json", False, f"{shorten(text)} is not JSON: {error}")
    return found, check("json", True, "the text is JSON")


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _schema_checks(data: Any, schema: dict[str, Any]) -> list[Check]:
    try:
        _validator.check_schema(schema)
        checker = _bounded(schema, registry=_registry(), format_checker=_validator.FORMAT_CHECKER)
        errors = cast(
            "list[ValidationError]", sorted(checker.iter_errors(data), key=lambda error: str(error.json_path))
        )
    except SchemaError as error:
        raise ToolInputError(f"check_json: schema{error.json_path[1:]}: {_message(error)}") from error
    except Unresolvable as error:
        raise ToolInputError(f"check_json: the schema refers to {error.ref!r}, which it does not hold") from error
    except RecursionError as error:
        raise ToolInputError("check_json: the schema goes round in a circle, or the data are too deep") from error
    failed = [check("schema", False, f"{error.json_path}: {_message(error)}") for error in errors]
    return failed or [check("schema", True, "the data fit")]


def _message(error: ValidationError | SchemaError) -> str:
    """Return what is wrong with a place, without all of its data."""
    return error.message if len(error.message) <= 300 else f"{error.message[:297]}..."


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{shorten(instance)} does not match {shorten(pattern)}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, below in patterns.items():
        for name, value in cast("dict[str, Any]", instance).items():
            if _matches(pattern, name):
                yield from validator.descend(value, below, path=name, schema_path=pattern)


def _matches(pattern: str, text: str) -> bool:
    # This engine rather than `re`, which could not be stopped and would stop all other nodes too.
    try:
        return _engine.search(pattern, text, timeout=PATTERN_SECONDS, concurrent=True) is not None
    except TimeoutError as error:
        raise ToolInputError(
            f"check_json: pattern {shorten(pattern)} searched for more than {PATTERN_SECONDS:g} s; simplify it"
        ) from error
    except _engine.error as error:
        raise ToolInputError(f"check_json: pattern {shorten(pattern)} is not a regular expression: {error}") from error


_bounded = cast("Any", jsonschema.validators).extend(
    _validator, {"pattern": _pattern, "patternProperties": _pattern_properties}
)
