"""Which parts an output can have by its schema: what is called missing surely is, and the rest passes."""

from __future__ import annotations

from typing import Any

import pytest

from vibe_prefect.schemas.output_fields import missing_part
from vibe_prefect.templates.reads import Step

TEXT = {"type": "string"}
FILE = {"type": "object", "properties": {"path": TEXT, "bytes": {"type": "integer"}}, "additionalProperties": False}
NEWS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "text": TEXT,
        "count": {"type": "integer"},
        "best": {"anyOf": [{"$ref": "#/$defs/File"}, {"type": "null"}]},
        "files": {"type": "array", "items": {"$ref": "#/$defs/File"}},
        "pair": {"type": "array", "prefixItems": [TEXT, {"$ref": "#/$defs/File"}], "items": False},
        "labels": {"type": "object", "additionalProperties": TEXT},
        "extra": {"type": "object", "properties": {"known": TEXT}},
        "any": True,
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "$defs": {
        "File": FILE,
        "Tree": {
            "type": "object",
            "properties": {"name": TEXT, "below": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
            "additionalProperties": False,
        },
    },
}


def doubling(steps: int) -> dict[str, Any]:
    parts: dict[str, Any] = {f"d{step}": {"anyOf": [{"$ref": f"#/$defs/d{step + 1}"}] * 2} for step in range(steps)}
    return {"allOf": [{"$ref": "#/$defs/d0"}] * 2, "$defs": {**parts, f"d{steps}": FILE}}


@pytest.mark.parametrize(
    ("schema", "steps", "said"),
    [
        (NEWS, ["txt"], "news has no 'txt'; did you mean 'text'?"),
        (NEWS, ["zzz"], "news has no 'zzz'; it has text, count, best, files, pair, labels, extra, any, tree"),
        (NEWS, [0], "news has no 0; it has text"),
        (NEWS, ["text", "titel"], "news.text is text and has no 'titel'"),
        (NEWS, ["text", "splt"], "news.text is text and has no 'splt'"),
        (NEWS, ["count", 0], "news.count is a number and has no 0"),
        (NEWS, ["count", None], "news.count is a number and has no items"),
        (NEWS, ["best", "pth"], "news.best has no 'pth'; did you mean 'path'?"),
        (NEWS, ["files", "path"], "news.files is a list and has no 'path'"),
        (NEWS, ["files", 0, "pth"], "news.files[0] has no 'pth'; did you mean 'path'?"),
        (NEWS, ["files", None, "pth"], "news.files[...] has no 'pth'; did you mean 'path'?"),
        (NEWS, ["pair", 1, "pth"], "news.pair[1] has no 'pth'; did you mean 'path'?"),
        (NEWS, ["pair", 2], "news.pair is a list and has no 2"),
        (NEWS, ["labels", "a", "b"], "news.labels.a is text and has no 'b'"),
        (
            NEWS,
            ["tree", "below", 0, "below", 1, "nme"],
            "news.tree.below[0].below[1] has no 'nme'; did you mean 'name'?",
        ),
        ({"allOf": [FILE, {"type": "object"}]}, ["pth"], "news has no 'pth'; did you mean 'path'?"),
        ({"oneOf": [FILE, TEXT]}, ["pth"], "news has no 'pth'; did you mean 'path'?"),
        ({"properties": {"a": TEXT}, "additionalProperties": False}, ["b"], "news has no 'b'; it has a"),
        ({"type": ["string", "null"]}, ["b"], "news is nothing or text and has no 'b'"),
        (doubling(30), ["pth"], "news has no 'pth'; did you mean 'path'?"),
        (
            {"properties": {"data": {"$id": "urn:own", "$ref": "#/$defs/a", "$defs": {"a": FILE}}}},
            ["data", "pth"],
            "news.data has no 'pth'; did you mean 'path'?",
        ),
    ],
)
def test_a_part_that_cannot_be_there_is_told(schema: Any, steps: list[Step], said: str) -> None:
    found = missing_part(schema, "news", steps)
    assert found is not None
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("schema", "steps"),
    [
        (NEWS, ["text"]),
        (NEWS, ["text", "split"]),
        (NEWS, ["text", 0]),
        (NEWS, ["text", None, "upper"]),
        (NEWS, ["items"]),
        (NEWS, ["get"]),
        (NEWS, [None, "upper"]),
        (NEWS, ["count", "real"]),
        (NEWS, ["best", "path"]),
        (NEWS, ["files", "append"]),
        (NEWS, ["files", 7, "path", "upper"]),
        (NEWS, ["pair", None, "path"]),
        (NEWS, ["labels", "anything"]),
        (NEWS, ["extra", "unknown", "deeper"]),
        (NEWS, ["any", "a", 0, "b"]),
        (NEWS, ["tree", "below", 0, "below", 1, "name"]),
        ({}, ["a"]),
        (True, ["a"]),
        (None, ["a"]),
        ({"text": "string"}, ["a"]),
        ({"type": "text"}, ["a"]),
        ({"type": "object"}, ["a"]),
        ({"type": "object", "properties": None, "items": 3, "allOf": 7, "$ref": 7}, ["a"]),
        ({"type": "object", "properties": {"a": TEXT}}, ["b"]),
        ({"type": "object", "additionalProperties": True}, ["b"]),
        ({"type": "object", "additionalProperties": False, "patternProperties": {"^b": {}}}, ["b"]),
        ({"anyOf": [FILE, {"type": "object"}]}, ["other"]),
        ({"anyOf": [FILE, {}]}, ["other"]),
        ({"allOf": [{"type": "object", "properties": {"a": TEXT}}, {"properties": {"b": TEXT}}]}, ["c"]),
        ({"$ref": "#"}, ["a"]),
        ({"$ref": "http://example.com/"}, ["a"]),
        ({"$ref": "#/$defs/gone"}, ["a"]),
        ({"type": "array"}, [0, "a"]),
        ({"type": "array", "items": [FILE]}, [0, "a"]),
        ({"type": "object", "unevaluatedProperties": False}, ["a"]),
        (doubling(30), ["path"]),
    ],
)
def test_whatever_can_be_there_passes(schema: Any, steps: list[Step]) -> None:
    assert missing_part(schema, "news", steps) is None
