"""The tool that checks data against a JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from vibe_prefect.errors import shorten
from vibe_prefect.schemas.keywords import SchemaError
from vibe_prefect.schemas.schema import mismatches, sound_schema
from vibe_prefect.text.json_text import read_json
from vibe_prefect.tools.base import ToolCategory, ToolResult
from vibe_prefect.tools.checks.verdicts import Check, Report, check, verdict
from vibe_prefect.tools.functions import ToolInputError, tool

MAX_CHARS = 5_000_000
"""The longest text that is read as JSON, in characters."""


class JsonReport(Report):
    """Output of `check_json`."""

    data: Any
    """The data, read where they were text, so that a node after this one gets them."""


@tool(name="check_json", category=ToolCategory.ANALYSIS, version="2")
def check_json(
    data: Annotated[Any, Field(description="Data, or text that is JSON.")],
    schema: Annotated[
        dict[str, Any] | None,
        AfterValidator(sound_schema),
        Field(
            description="JSON Schema, draft 2020-12, `format` included. Without it: whether the text is JSON at all."
        ),
    ] = None,
) -> JsonReport | ToolResult:
    """Check that a text is JSON, and that data fit a JSON Schema; name every place that does not.

    JSON with a key twice in one object, or with a number of more than 64 bits, does not pass: readers differ on it.
    A schema refers to nothing outside itself, and the time that its patterns and references take is bounded.

    Returns:
        The report; as a failed `ToolResult` that carries it when a check did not pass.

    Raises:
        ToolInputError: The schema is not one, or checking by it is too much work.
    """
    checks: list[Check] = []
    value = data
    if isinstance(data, str):
        value, reading = _read(data)
        checks.append(reading)
    if schema is not None and all(outcome["passed"] for outcome in checks):
        checks += _schema_checks(value, schema)
    if not checks:
        raise ToolInputError("check_json: there is nothing to check: data are data already; give a schema")
    report = JsonReport(passed=all(outcome["passed"] for outcome in checks), checks=checks, data=value)
    return verdict(report, checks)


check_json.spec.examples.append(
    {"data": "{{ outputs['facts'].text }}", "schema": {"type": "object", "required": ["title"]}}
)


def _read(text: str) -> tuple[Any, Check]:
    if len(text) > MAX_CHARS:
        raise ToolInputError(f"check_json: the text has {len(text):,} characters; at most {MAX_CHARS:,} are read")
    try:
        return read_json(text).data, check("json", True, "the text is JSON")
    except ValueError as error:
        return None, check("json", False, f"{shorten(text)} is not JSON that can be relied on: {error}")


def _schema_checks(data: Any, schema: dict[str, Any]) -> list[Check]:
    try:
        failed = [check("schema", False, str(misfit)) for misfit in mismatches(schema, data)]
    except SchemaError as error:
        raise ToolInputError(f"check_json: {error}") from error
    return failed or [check("schema", True, "the data fit")]
