"""The rules by which a provider's response becomes an answer, without a client or a server."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.llm.provider.received import Finish, Received, Usage, incomplete, meaning, without_thinking
from vibe_prefect.llm.provider.stream_end import StreamNotes
from vibe_prefect.text.encodings import well_formed

QUESTION = Question("openai:ok", "", "Write.", max_tokens=100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", "b"),
        ("\n <think>a</think>\n\n  indented\nmore", "  indented\nmore"),
        ("<thinking>a <think> b</thinking>\r\n\r\nc", "c"),
        ("a\n</think>\nb", "b"),
        ("</think>\n\nb", "b"),
        ("a</think>\n\nb", "b"),
        ("a\n</think>", ""),
        ("<think>a", ""),
        ("a </think> b", "a </think> b"),
        ("See:\n```\n</think>\n```\n", "See:\n```\n</think>\n```\n"),
        ("See:\n\n    </think>\n\nb", "See:\n\n    </think>\n\nb"),
        ("a <think>b</think>\nc", "a <think>b</think>\nc"),
        ("<thinker>a</thinker>", "<thinker>a</thinker>"),
        ("  a\n", "  a\n"),
    ],
)
def test_thinking_is_taken_out_at_the_beginning_alone(text: str, expected: str) -> None:
    assert without_thinking(text) == expected


def test_thinking_by_a_models_own_tags() -> None:
    assert without_thinking("[THINK]a[/THINK]\nb", [("[THINK]", "[/THINK]")]) == "b"


@given(st.text().filter(lambda text: not any(mark in text for mark in "[<◁")))
def test_a_text_without_tags_stays_as_it_is(text: str) -> None:
    assert without_thinking(text) == text
    assert well_formed(text) == text


@given(st.lists(st.integers(0, 0x10FFFF).map(chr)).map("".join))
def test_any_text_becomes_one_that_utf8_holds(text: str) -> None:
    assert well_formed(text).encode().decode() == well_formed(text)


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (Received(finish="stop"), "stop"),
        (Received(finish="tool_call", finish_word="tool_calls"), "tool_call"),
        (Received(finish_word="eos"), "stop"),
        (Received(finish="stop", ended=False), None),
        (Received(finish="stop", finish_word="", ended=False), None),
        (Received(finish="stop", finish_word="stop", ended=False), "stop"),
        (Received(ended=True), "stop"),
        (Received(), None),
        (Received(finish_word="Max_Tokens"), "length"),
        (Received(finish="content_filter", ended=False), "content_filter"),
        (Received(finish_word="network_error", ended=True), "error"),
    ],
)
def test_why_an_answer_ended(received: Received, expected: Finish | None) -> None:
    assert meaning(received) == expected


def test_an_empty_answer_is_none_even_where_no_end_is_required() -> None:
    problem = incomplete(Received(ended=False), " \n", QUESTION, end_required=False)
    assert "the answer is empty" in str(problem)


@pytest.mark.parametrize(
    "answer",
    [
        "<THINK>a</think>\n\nTea.",
        "[THINK]a[/THINK]Tea.",
        "\u25c1think\u25b7a\u25c1/think\u25b7Tea.",
        "<thought>a</thought>\nTea.",
        "<seed:think>a</seed:think>Tea.",
        "a\n</Think>\n\nTea.",
    ],
)
def test_thinking_is_taken_out_between_the_tags_of_any_model(answer: str) -> None:
    assert without_thinking(answer) == "Tea."


def test_counts_that_are_written_as_other_numbers_count_and_what_is_no_count_does_not() -> None:
    notes = StreamNotes()
    notes.feed(b'data: {"usage": {"prompt_tokens": 30.0, "completion_tokens": 9.0, "total_tokens": true}}\n\n')
    notes.feed(b'data: {"usage": {"prompt_tokens": NaN, "completion_tokens": true}}\n\n')
    assert notes.usage == Usage(30, 9)


EVENTS = (
    b': note\r\n\r\ndata: {"choices": [{"text": "data: [DONE] \\"usage\\": 9"}]}\r\n\r\n'
    b'data: {"usage": {"prompt_tokens": 30, "completion_tokens": 9, "prompt_cache_hit_tokens": 7, "cost": 0.1}}\n\n'
    b'data: {"usage": {"prompt_tokens": 30, "completion_tokens": 10, "queue": null}}\n\ndata: {"usage": [1]}\n\n'
    b"data: [DONE]"
)


@given(st.lists(st.integers(0, len(EVENTS)), max_size=40))
def test_a_stream_is_read_alike_however_its_bytes_are_cut(places: list[int]) -> None:
    cuts = [0, *sorted(places), len(EVENTS)]
    notes = StreamNotes()
    for start, end in pairwise(cuts):
        notes.feed(EVENTS[start:end])
    assert not notes.ended
    notes.close()
    assert (notes.ended, notes.usage) == (True, Usage(30, 10, 7))


def test_words_of_the_model_are_no_end_mark() -> None:
    notes = StreamNotes()
    notes.feed(b'data: {"choices": [{"delta": {"content": "data: [DONE]"}}]}\n\nevent: [DONE]\n\n')
    notes.close()
    assert (notes.ended, notes.usage) == (False, None)


@pytest.mark.parametrize("tag", ["think", "thinking", "thought", "reasoning", "Reasoning"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<{}>a</{}>Tea.", "Tea."),
        ("\n<{}>\na\n</{}>\n\nTea.", "Tea."),
        ("a\n</{}>\nTea.{}", "Tea."),
        ("```xml\n<{}>\na\n</{}>\n```", None),
        ("Like so:\n~~~\na\n</{}>\n~~~\n{}", None),
        ("Like so:\n```\na\n</{}>\n```\n{}", None),
        ("Models write <{}> and </{}> around it.", None),
        ("Close it with `</{}>`.{}", None),
    ],
)
def test_thinking_goes_and_a_text_about_its_tags_stays(tag: str, text: str, expected: str | None) -> None:
    second = tag if text.count("</{}>") and "<{}>" in text.replace("</{}>", "") else ""
    answer = text.format(tag, second)
    assert without_thinking(answer) == (answer if expected is None else expected)
