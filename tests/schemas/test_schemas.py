"""JSON Schemas: what is found before there are data, and that no check goes on for ever or asks anybody."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import PlanError, ToolRegistry, compile_plan
from vibe_prefect.schemas.keywords import SchemaError
from vibe_prefect.schemas.schema import mismatches, schema_problems
from vibe_prefect.tools.base import ToolCategory, ToolResult, ToolSpec, input_problems
from vibe_prefect.tools.checks.json_check import check_json

LATEST = "https://json-schema.org/draft/2020-12/schema"
ENDLESS = "^(a|aa)+$"
LONG = "a" * 40 + "!"


def doubling(steps: int) -> dict[str, Any]:
    """Return a schema whose every definition refers twice to the next."""
    parts: dict[str, Any] = {f"d{step}": {"allOf": [{"$ref": f"#/$defs/d{step + 1}"}] * 2} for step in range(steps)}
    return {"$ref": "#/$defs/d0", "$defs": {**parts, f"d{steps}": {"type": "string"}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"$ref": "http://127.0.0.1:9/secret"}, "schema.$ref: the schema refers to 'http://127.0.0.1:9/secret', which"),
        ({"$ref": "file:///etc/passwd"}, "schema.$ref: the schema refers to 'file:///etc/passwd', which it does not"),
        ({"$ref": "other.json"}, "refers to 'other.json', which it does not hold"),
        ({"$ref": "#/$defs/none"}, "refers to '#/$defs/none', which it does not hold"),
        ({"$ref": "#none"}, "refers to '#none', which it does not hold"),
        ({"$dynamicRef": "#none"}, "schema.$dynamicRef: the schema refers to '#none', which it does not hold"),
        ({"$ref": "http://["}, "refers to 'http://[', which it does not hold"),
        ({"$ref": "#/title", "title": "a"}, "refers to '#/title', which is not a schema"),
        ({"$id": "http://a/b", "$ref": "c"}, "refers to 'c', which it does not hold"),
        (
            {"properties": {"a": {"items": [], "x": 1}}},
            "schema.properties.a.items: not a JSON Schema: [] is not of type 'object', 'boolean'",
        ),
        ({"$ref": "#/parts/a", "parts": {"a": {"$ref": "http://x/"}}}, "schema.parts.a.$ref: the schema refers to"),
        ({"$ref": "#/parts/a", "parts": {"a": {"type": 7}}}, "not a JSON Schema: 7 is not valid"),
        (
            {"properties": {"a": {"pattern": "("}}},
            "schema.properties.a.pattern: pattern '(' is not a regular expression",
        ),
        ({"patternProperties": {"(": {}}}, "schema.patternProperties: pattern '(' is not a regular expression"),
        ({"$schema": "http://example.com/own"}, "schema.$schema: unknown dialect 'http://example.com/own'; known are"),
        ({"$schema": 7}, "schema.$schema: unknown dialect 7"),
        (
            {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}},
            "schema.properties.a.$schema: a part of a schema cannot have a dialect of its own",
        ),
        ({"$ref": "#"}, "goes round in a circle"),
        ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, "goes round in a circle"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}, "goes round in a circle"),
        (doubling(40), "more than 100,000 schemas apply to one and the same value"),
        (nested(5000), "maximum recursion depth"),
        (nested(300), "nested too deeply"),
        ({"type": {1, 2}}, "JSON cannot hold this schema"),
        ({"maximum": float("nan")}, "JSON cannot hold this schema"),
        (7, "not a JSON Schema"),
        ([], "not a JSON Schema"),
    ],
)
def test_a_schema_that_cannot_work_is_found_without_data(schema: object, problem: str) -> None:
    found = schema_problems(schema)
    assert any(problem in str(one) for one in found), found
    with pytest.raises(SchemaError):
        mismatches(schema, {})


SOUND: list[tuple[Any, Any, list[str]]] = [
    (True, 1, []),
    (False, 1, ["$: False schema does not allow 1"]),
    ({"properties": {"$ref": {"type": "string"}}}, {"$ref": 1}, ["$.$ref: 1 is not of type 'string'"]),
    ({"default": {"$ref": "http://x/"}, "examples": [{"$ref": "y"}], "enum": [{"$ref": "z"}]}, {"$ref": "z"}, []),
    (
        {"properties": {"c": {"items": {"$ref": "#"}}}, "required": ["c"]},
        {"c": [{"c": [{}]}]},
        ["$.c[0].c[0]: 'c' is a required property"],
    ),
    (
        {"$id": "http://a/b", "$defs": {"c": {"$id": "c", "type": "string"}}, "properties": {"d": {"$ref": "c"}}},
        {"d": 1},
        ["$.d: 1 is not of type 'string'"],
    ),
    ({"$defs": {"c": {"$anchor": "d", "type": "null"}}, "$ref": "#d"}, 1, ["$: 1 is not of type 'null'"]),
    ({"$ref": LATEST}, {"type": 7}, ["$.type: 7 is not valid under any of the given schemas"]),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]},
        [1],
        ["$[0]: 1 is not of type 'null'"],
    ),
    (
        {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True},
        3,
        ["$: 3 is greater than or equal to the maximum of 3"],
    ),
    ({"pattern": r"^\p{Lu}"}, "a", [r"$: 'a' does not match '^\\p{Lu}'"]),
    ({"uniqueItems": True}, [1, True, "1"], []),
    ({"uniqueItems": True}, [{"a": [1]}, {"a": [1.0]}], ["$: [{'a': [1]}, {'a': [1.0]}] has non-unique elements"]),
    (
        {"patternProperties": {"^n": {}}, "properties": {"a": {}}, "additionalProperties": False},
        {"a": 1, "n1": 2, "z": 3},
        ["$: Additional properties are not allowed ('z' was unexpected)"],
    ),
    ({"additionalProperties": {"type": "null"}}, {"a": 1}, ["$.a: 1 is not of type 'null'"]),
    (
        {
            "allOf": [{"properties": {"a": True}}],
            "anyOf": [{"properties": {"b": {"type": "null"}}}, {"properties": {"c": True}}],
            "if": {"required": ["d"]},
            "then": {"$ref": "#/$defs/d"},
            "dependentSchemas": {"a": {"patternProperties": {"^e": True}}},
            "unevaluatedProperties": False,
            "$defs": {"d": {"properties": {"d": True}}},
        },
        {"a": 1, "b": 1, "c": 1, "d": 1, "e1": 1},
        ["$: Unevaluated properties are not allowed ('b' was unexpected)"],
    ),
    ({"unevaluatedProperties": {"type": "null"}}, {"a": None}, []),
]


@pytest.mark.parametrize(("schema", "data", "expected"), SOUND)
def test_data_are_checked_by_what_a_schema_says(schema: Any, data: Any, expected: list[str]) -> None:
    assert schema_problems(schema) == ()
    assert [str(found) for found in mismatches(schema, data)] == expected


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"items": {"pattern": ENDLESS}}, [LONG]),
        ({"patternProperties": {ENDLESS: {}}, "additionalProperties": False}, {LONG: 1}),
        ({"patternProperties": {ENDLESS: {}}, "unevaluatedProperties": False}, {LONG: 1}),
        ({"$schema": LATEST, "$defs": {"a": {"$schema": LATEST, "pattern": ENDLESS}}, "$ref": "#/$defs/a"}, LONG),
    ],
)
def test_a_pattern_that_searches_forever_is_stopped(schema: Any, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibe_prefect.schemas.keywords.PATTERN_SECONDS", 0.05)
    with pytest.raises(SchemaError, match=r"searched for more than 0\.05 s"):
        mismatches(schema, data)


def test_a_check_that_doubles_with_each_level_of_the_data_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibe_prefect.schemas.keywords.CHECK_SECONDS", 0.2)
    twice = {"properties": {"a": {"$ref": "#"}}}
    data: dict[str, Any] = {}
    for _ in range(40):
        data = {"a": data}
    with pytest.raises(SchemaError, match=r"took more than 0\.2 s of computing time"):
        mismatches({"allOf": [twice, twice]}, data)


def test_many_unlike_items_are_compared_in_linear_time() -> None:
    assert mismatches({"uniqueItems": True}, [{"a": number} for number in range(50_000)]) == []


def test_data_that_cannot_be_checked_are_an_error_of_their_own() -> None:
    with pytest.raises(SchemaError, match="cannot be checked: OverflowError"):
        mismatches({"multipleOf": 0.5}, 10**400)


def test_data_nested_too_deeply_for_a_recursive_schema_are_told() -> None:
    data: list[Any] = []
    for _ in range(900):
        data = [data]
    with pytest.raises(SchemaError, match="nested too deeply"):
        mismatches({"items": {"$ref": "#"}}, data)


class Foreign:
    """A tool of another package, with a schema of its own."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.spec = ToolSpec("foreign", "Do it", ToolCategory.UTILITY, schema, {})

    async def execute(self, inputs: dict[str, Any], context: Any = None) -> ToolResult:
        """Hand the inputs back."""
        return ToolResult(True, inputs)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_schemas_of_plans_and_tools_ask_nobody_and_are_refused_before_the_run() -> None:
    away = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/a.json"}}}
    tools = ToolRegistry([check_json, Foreign(away)])
    checked = node("c", parameters={"tool": "check_json", "tool_inputs": {"data": {}, "schema": away}})
    foreign = node("f", parameters={"tool": "foreign", "tool_inputs": {"a": 1}})
    with pytest.raises(PlanError) as caught:
        compile_plan(plan(checked, foreign), tools=tools)
    said = "the schema refers to 'http://127.0.0.1:9/a.json', which it does not hold"
    assert [str(problem) for problem in caught.value.problems] == [
        f"node 'c', parameters.tool_inputs.schema.properties.a.$ref: {said} (tool 'check_json')",
        (
            "node 'f', parameters.tool_inputs: its inputs cannot be checked against the tool's input_schema: "
            f"schema.properties.a.$ref: {said} (tool 'foreign')"
        ),
    ]


def test_inputs_of_foreign_tools_are_checked_by_the_same_validator() -> None:
    tool = Foreign({"type": "object", "properties": {"day": {"type": "string", "format": "date"}}})
    assert [problem.message for problem in input_problems(tool, {"day": "soon"})] == ["'soon' is not a 'date'"]
    assert input_problems(tool, {"day": "2026-11-26"}) == []
