"""JSON data with long texts: the same JSON in pieces, and no copies of texts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import from_json, to_json

from vibe_prefect.core.outputs import beginning_of
from vibe_prefect.text.encodings import PIECE, is_well_formed
from vibe_prefect.text.json_text import SharedTexts, copied, json_data, json_pieces, quoted_pieces
from vibe_prefect.tools.secrecy.redaction import scrubbed_data

LONG = 'a "quote", a line\n, ü, 😀 and \\ ' * (2 * PIECE // 30)

DATA: dict[str, Any] = {
    "nothing long": {"a": [1, 2.5, None, True, "b"], "c": {}},
    "a text": LONG,
    "in a mapping": {"a": LONG, 'k"': 1, "b": [[], {}]},
    "in a list": [1, LONG, {"a": ["x", LONG]}],
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_json_in_pieces_is_the_same_json(data: Any) -> None:
    pieces = list(json_pieces(data))
    assert b"".join(pieces) == to_json(data)
    assert max(map(len, pieces)) <= 4 * PIECE
    assert from_json(b"".join(quoted_pieces(iter(pieces)))) == to_json(data).decode()


def test_data_are_new_and_their_texts_are_shared() -> None:
    given = {"list": [LONG], "tuple": (1, 2)}
    data = json_data("n", given)
    assert data == {"list": [LONG], "tuple": [1, 2]}
    other = copied(data)
    assert data["list"][0] is other["list"][0] is scrubbed_data(other)["list"][0] is LONG
    assert other["list"] is not data["list"] is not given["list"]


def test_equal_long_texts_are_kept_once() -> None:
    texts = SharedTexts()
    first, second = (texts.of({"a": [f"{LONG}!", 1], "b": "x"}) for _ in range(2))
    assert first == second == {"a": [f"{LONG}!", 1], "b": "x"}
    assert first["a"][0] is second["a"][0]


@pytest.mark.parametrize(
    ("text", "is_fine"), [("é" * PIECE + "😀", True), ("é" * PIECE + "\ud83d", False), ("a", True)]
)
def test_half_a_character_is_found_anywhere(text: str, is_fine: bool) -> None:
    assert is_well_formed(text) is is_fine


@pytest.mark.parametrize("value", [{"a": "it's", "b": [1, (2, "x")]}, "text", [1] * 50, None, {"x" * 30: {"y": LONG}}])
def test_beginning_is_that_of_the_whole(value: Any) -> None:
    assert beginning_of(value, 100) == str(value)[:100]
