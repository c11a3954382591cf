"""JSON as models write it: one object, whatever stands around it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibe_prefect.llm.json_answer import AnswerJSONError, read_json_answer

GOOD = '{"titles": ["One", "Two"]}'
FENCED = '{"code": "```js\\nlet a = {};\\n```"}'


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"\n {GOOD}\n",
        f"\ufeff{GOOD}",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"```JSON\r\n{GOOD}\r\n```",
        f"~~~ json\n{GOOD}\n~~~",
        f"\n\n````json\n\n{GOOD}\n\n````\n\n",
        f"\ufeff```json\n{GOOD}\n```",
        f"```json\n{GOOD}",
        f"``` json {GOOD} ```",
        f"<think>Is {{}} enough? No.</think>\n\n{GOOD}",
        f"<think>\nhm\n</think>\n```json\n{GOOD}\n```",
        f"Here are [two] titles:\n\n{GOOD}\n\nTell me if you want {{more}}.",
        f"Here you are:\n```json\n{GOOD}\n```\nBye.",
    ],
)
def test_one_object_is_found_and_is_the_text(answer: str) -> None:
    read = read_json_answer(answer)
    assert read.data == {"titles": ["One", "Two"]}
    assert read.text == GOOD


def test_fences_within_a_string_are_content() -> None:
    for answer in (FENCED, f"```json\n{FENCED}\n```", f"Here: {FENCED} Bye."):
        assert read_json_answer(answer).text == FENCED


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "Expecting value"),
        ("```json\nnot at all\n```", "Expecting value"),
        ('["One"]', "expected an object, found"),
        (f"```json\n[{GOOD}]\n```", "Expecting value"),
        (f"All: [{GOOD}]", "Expecting value"),
        (f"{GOOD} {GOOD}", "2 JSON objects where one is expected"),
        (f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```", "2 JSON objects"),
        ('{"a": {"b": 1}, oops}', "Expecting property name"),
        ('{"titles": ["On', "Unterminated string"),
        ('{"a": 1, "a": 2}', "the key 'a' stands in one object twice"),
        ('```json\n{"x": {"a": 1, "a": 2}}\n```', "the key 'a' stands in one object twice"),
        ('Here: {"a": NaN}', "NaN is not a JSON value"),
        ('{"a": -Infinity}', "-Infinity is not a JSON value"),
        ('{"a": 1e999}', "the number '1e999' is larger"),
        ('{"a": 9223372036854775808}', "larger than 64 bits hold"),
        (f'{{"a": {"9" * 10_000}}}', "larger than 64 bits hold"),
        ('{"a": ' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_one_clear_object_is_refused(answer: str, said: str) -> None:
    with pytest.raises(AnswerJSONError, match=said):
        read_json_answer(answer)


def test_line_ends_as_they_are_in_a_text_are_read_and_written_as_json() -> None:
    read = read_json_answer('Here:\n{"text": "One\n\ttwo"}')
    assert read.data == {"text": "One\n\ttwo"}
    assert json.loads(read.text) == read.data


def test_keys_that_become_alike_are_refused() -> None:
    with pytest.raises(AnswerJSONError, match="stands in one object twice"):
        read_json_answer('{"\\ud83d": 1, "\\ud83e": 2}')


def test_half_a_character_is_replaced_in_data_and_text() -> None:
    read = read_json_answer('{"k\\ud83d": ["a\\ude00", "\\ud83d\\ude00"]}')
    assert read.data == {"k\ufffd": ["a\ufffd", "\U0001f600"]}
    assert json.loads(read.text) == read.data


@pytest.mark.parametrize(
    "answer",
    [
        *('{"' * 100_000, "{" * 300_000, "[" * 500, '{"a": "x ' * 50_000, "`" * 300_000, "```" + " " * 300_000),
        *("{ " * 150_000, '{"\\"' * 75_000, "{" + " " * 300_000, '{"a":1,' * 50_000, "</think>" * 40_000),
    ],
    ids=range(11),
)
def test_a_hostile_answer_costs_no_more_than_its_length(answer: str) -> None:
    began = time.process_time()
    with pytest.raises(AnswerJSONError):
        read_json_answer(answer)
    assert time.process_time() - began < 5


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=3), st.sampled_from(["{}", "```json\n{}\n```", "Here: {} Bye."]))
def test_any_object_is_read_as_it_was_written(data: dict[str, Any], around: str) -> None:
    assert read_json_answer(around.replace("{}", json.dumps(data))).data == data
