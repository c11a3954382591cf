"""`check_text`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vibe_prefect.tools import ToolInputError, ToolResult
from vibe_prefect.tools.checks.text_check import check_text, reading_ease

TEXT = "The cat sat on the mat.\n\nWe talk about synergy here, and Straße is C++ art."


async def check(**inputs: Any) -> ToolResult:
    return await check_text.execute(inputs)


async def test_a_text_that_passes_is_handed_on_with_its_figures() -> None:
    result = await check(text=TEXT, min_words=5, required=["cat"])
    assert result.success
    assert result.error is None
    ease = result.output.pop("reading_ease")
    assert ease == pytest.approx(96, abs=5)
    assert result.output == {
        "passed": True,
        "checks": [
            {"name": "min_words", "passed": True, "detail": "16 words, at least 5 expected"},
            {"name": "required", "passed": True, "detail": "'cat' occurs"},
        ],
        "words": 16,
        "chars": len(TEXT),
        "text": TEXT,
    }


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"min_chars": 100}, "min_chars: 75 characters, at least 100 expected"),
        ({"max_chars": 10}, "max_chars: 75 characters, at most 10 expected"),
        ({"min_words": 1_000}, "min_words: 16 words, at least 1,000 expected"),
        ({"max_words": 3}, "max_words: 16 words, at most 3 expected"),
        ({"min_reading_ease": 500}, "min_reading_ease: reading ease 9"),
        ({"max_reading_ease": 10.5}, "max_reading_ease: reading ease 9"),
        ({"required": ["dog"]}, "required: 'dog' does not occur"),
        ({"forbidden": ["Synergy"]}, "forbidden: 'Synergy' ('synergy') at line 3, column 15"),
        ({"forbidden": ["the  MAT"]}, "forbidden: 'the  MAT' ('the mat') at line 1, column 16"),
        ({"forbidden": ["strasse"]}, "forbidden: 'strasse' ('Straße') at line 3, column 33"),
        ({"forbidden": ["c++"]}, "forbidden: 'c++' ('C++') at line 3, column 43"),
        ({"patterns": ["^cat"]}, "patterns: '^cat' does not occur"),
        ({"forbidden_patterns": ["^W."]}, "forbidden_patterns: '^W.' ('We') at line 3, column 1"),
    ],
)
async def test_a_failed_check_says_what_and_where(inputs: dict[str, Any], error: str) -> None:
    result = await check(text=TEXT, **inputs)
    assert not result.success
    assert result.error is not None
    assert result.error.startswith(f"1 of 1 check failed: {error}")
    assert result.output["passed"] is False
    assert result.output["text"] == TEXT


async def test_all_failed_checks_are_named_in_one_error() -> None:
    result = await check(text=TEXT, min_words=1, max_words=10, required=["cat", "mat"], forbidden=["synergy"])
    assert result.error == (
        "2 of 5 checks failed: max_words: 16 words, at most 10 expected; forbidden: 'synergy' at line 3, column 15"
    )


async def test_the_error_stays_short_and_the_report_whole() -> None:
    result = await check(text=TEXT, required=[f"word{number}" for number in range(150)])
    assert result.error is not None
    assert result.error.endswith("; and 140 more")
    assert len(result.output["checks"]) == 150


@pytest.mark.parametrize(
    ("text", "inputs", "passes"),
    [
        ("start", {"required": ["art"]}, False),
        ("start", {"required": ["art"], "whole_words": False}, True),
        ("state of the\nart", {"required": ["of the art"]}, True),
        ("cafe\u0301", {"required": ["café"]}, True),
        ("café", {"required": ["cafe\u0301"]}, True),
        ("これは日本語です", {"required": ["日本"]}, False),
        ("これは日本語です", {"required": ["日本"], "whole_words": False}, True),
        ("ship it 🚀", {"required": ["🚀"]}, True),
        ("שלום עולם", {"required": ["עולם"], "max_words": 2}, True),
        ("don't self-test it", {"max_words": 3}, True),
        ("don\u2019t", {"max_words": 1}, True),
        ("", {"max_words": 0, "max_chars": 0}, True),
        ("", {"min_chars": 0}, True),
        ("", {"min_reading_ease": -100}, False),
        ("🚀 ... !", {"max_words": 0}, True),
        ("🚀 ... !", {"max_reading_ease": 100}, False),
        ("a(b", {"required": ["a(b"]}, True),
        ("Abc", {"patterns": ["abc"]}, False),
        ("Abc", {"patterns": ["(?i)abc", r"^\w+$"]}, True),
        ("x\ny", {"patterns": ["^y$"]}, True),
    ],
)
async def test_words_and_patterns_in_many_scripts(text: str, inputs: dict[str, Any], passes: bool) -> None:
    assert (await check(text=text, **inputs)).success is passes


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "there is nothing to check; give at least one of min_chars,"),
        ({"required": [], "patterns": []}, "there is nothing to check"),
        ({"min_words": 5, "max_words": 2}, "min_words (5) is more than max_words (2)"),
        ({"min_chars": 5_000, "max_chars": 1}, "min_chars (5,000) is more than max_chars (1)"),
        (
            {"min_reading_ease": 60.5, "max_reading_ease": 30},
            "min_reading_ease (60.5) is more than max_reading_ease (30)",
        ),
        ({"required": ["Cat"], "forbidden": ["cat "]}, "'cat' is both required and forbidden"),
        ({"patterns": ["ok", "("]}, "patterns[1]: '(' is not a regular expression: missing )"),
        ({"forbidden_patterns": ["[z-a]"]}, "forbidden_patterns[0]: '[z-a]' is not a regular"),
        ({"patterns": ["(?:" * 240 + ")" * 240]}, "patterns[0]: '(?:(?:"),
        ({"patterns": ["a" * 1_001]}, "patterns[0]: "),
        ({"required": [""]}, "required[0]: "),
        ({"required": [" \n"]}, "required[0]: "),
        ({"required": ["a"] * 201}, "required: "),
        ({"min_words": -1}, "min_words: "),
        ({"min_reading_ease": float("nan")}, "min_reading_ease: "),
    ],
)
async def test_checks_that_make_no_sense_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        await check(text=TEXT, **inputs)
    assert str(caught.value).startswith(f"check_text: {message}")


async def test_all_nonsense_is_named_at_once() -> None:
    with pytest.raises(ToolInputError) as caught:
        await check(text="", min_words=2, max_words=1, patterns=["(", "["])
    assert str(caught.value).count(";") == 2


async def test_a_pattern_that_would_run_for_ages_is_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(ToolInputError, match="searched for more than 2 s; simplify it"):
        await check(text="a" * 50_000 + "b", patterns=["(a|aa)+$"])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "text",
    ["." * 999_999 + "a", "\n " * 500_000, "a " * 500_000, "-a" * 500_000, "e" * 1_000_000],
    ids=["marks", "blank", "words", "hyphens", "letters"],
)
async def test_the_largest_text_takes_seconds_at_most(text: str) -> None:
    started = time.monotonic()
    await check(text=text, max_reading_ease=200, required=["a b c"], forbidden=["z z"])
    assert time.monotonic() - started < 10


async def test_a_text_over_the_cap_is_refused() -> None:
    with pytest.raises(ToolInputError, match="check_text: text: "):
        await check(text="x" * 1_000_001, min_words=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 6 words, 1 sentence, 6 syllables
        ("The cat sat on the mat.", 206.835 - 1.015 * 6 - 84.6),
        # 4 words, 2 sentences, 7 syllables (quietly counts as two)
        ("Happy people run. Quietly?", 206.835 - 1.015 * 2 - 84.6 * 7 / 4),
        # a heading and two list items are sentences of their own
        ("# Red\n\n- green\n- blue", 206.835 - 1.015 - 84.6),
        ("Use 3.8 now", 206.835 - 1.015 * 4 - 84.6),
    ],
)
def test_reading_ease_is_fleschs(text: str, expected: float) -> None:
    assert reading_ease(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", " \n", "🚀", "...!?"])
def test_a_text_without_words_has_no_reading_ease(text: str) -> None:
    assert reading_ease(text) is None


def test_long_words_and_sentences_read_harder() -> None:
    easy = reading_ease("We ran home. It was fun. The dog ran too.")
    hard = reading_ease(
        "Organisational considerations notwithstanding, the implementation of comprehensive "
        "methodologies necessitates considerable interdepartmental communication."
    )
    assert easy is not None
    assert hard is not None
    assert easy > 90
    assert hard < 0
