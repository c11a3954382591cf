"""`check_json`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vibe_prefect.tools import ToolInputError, ToolResult
from vibe_prefect.tools.checks.json_check import check_json

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 20},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}},
        "published": {"type": "string", "format": "date"},
    },
    "required": ["title"],
    "additionalProperties": False,
}


async def check(**inputs: Any) -> ToolResult:
    return await check_json.execute(inputs)


async def test_data_that_fit_are_handed_on() -> None:
    result = await check(data='{"title": "A", "tags": ["b"]}', schema=SCHEMA)
    assert result.success
    assert result.output == {
        "passed": True,
        "checks": [
            {"name": "json", "passed": True, "detail": "the text is JSON"},
            {"name": "schema", "passed": True, "detail": "the data fit"},
        ],
        "data": {"title": "A", "tags": ["b"]},
    }
    assert result.metadata == {
        "quality": 1.0,
        "criteria": [
            {"name": "json", "score": 1.0, "reason": "the text is JSON"},
            {"name": "schema", "score": 1.0, "reason": "the data fit"},
        ],
        "evidence": ["passed: json: the text is JSON", "passed: schema: the data fit"],
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands in one object twice"),
        ('{"a": 1e400}', "larger than a number in JSON may be"),
        ('{"a": 18446744073709551616}', "larger than 64 bits hold"),
        ('{"a": "x\ny"}', "Invalid control character"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
async def test_json_on_which_readers_differ_does_not_pass(data: str, said: str) -> None:
    result = await check(data=data)
    assert not result.success
    assert said in str(result.error)


async def test_half_a_character_in_json_is_replaced() -> None:
    assert (await check(data='["\\ud83d", "\\ud83d\\ude00"]')).output["data"] == ["\ufffd", "\U0001f600"]


async def test_every_place_that_does_not_fit_is_named() -> None:
    data = {"tags": ["ok", "NOT", 3], "published": "tomorrow", "extra": 1}
    result = await check(data=data, schema=SCHEMA)
    assert not result.success
    assert result.error is not None
    assert result.error.startswith("5 of 5 checks failed: ")
    for part in (
        "$: 'title' is a required property",
        "$: Additional properties are not allowed ('extra' was unexpected)",
        "$.tags[1]: 'NOT' does not match '^[a-z]+$'",
        "$.tags[2]: 3 is not of type 'string'",
        "$.published: 'tomorrow' is not a 'date'",
    ):
        assert part in result.error
    assert result.metadata["quality"] == 0.0
    assert len(result.metadata["evidence"]) == 5


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "```json\n{}\n```", "NaN", "[" * 100_000, "{} {}"])
async def test_what_is_not_json_fails(text: str) -> None:
    result = await check(data=text)
    assert not result.success
    assert "is not JSON" in str(result.error)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"data": {}}, "nothing to check"),
        ({"data": {}, "schema": {"type": "thing"}}, r"schema.type: not a JSON Schema: 'thing' is not valid"),
        (
            {"data": {}, "schema": {"$ref": "http://169.254.169.254/schema"}},
            "refers to 'http://169.254.169.254/schema'",
        ),
        ({"data": {}, "schema": {"$ref": "#/$defs/none"}}, "refers to"),
        ({"data": {}, "schema": {"$ref": "#"}}, "goes round in a circle"),
        ({"data": "x" * 5_000_001}, "has 5,000,001 characters"),
    ],
)
async def test_what_cannot_be_checked_is_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolInputError, match=message):
        await check(**inputs)


@pytest.mark.slow
async def test_a_pattern_that_searches_forever_is_stopped() -> None:
    begun = time.monotonic()
    with pytest.raises(ToolInputError, match="searched for more than 2 s"):
        await check(data=["a" * 40 + "!"], schema={"items": {"pattern": "^(a|aa)+$"}})
    assert time.monotonic() - begun < 60


async def test_properties_by_pattern_are_checked() -> None:
    schema = {"patternProperties": {"^n_": {"type": "integer"}}}
    assert (await check(data={"n_a": 1, "other": "x"}, schema=schema)).success
    assert "$.n_a: 'x' is not of type 'integer'" in str((await check(data={"n_a": "x"}, schema=schema)).error)
