"""Quotes are found in spite of typography, and only where the words stand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibe_prefect.llm.quotes import MIN_QUOTE, fold, folded

TEXT = (
    "It\u2019s a \u201csmall\u201d tea shop \u2014 open since 1998. We pour **Gyokuro** and Sencha\u2026 Visit us!\n"
    "Our the\u0301 is well\u2011known; wa\u00adter at 80\u00a0\u00b0C, \ufb01ne leaves and\u200b _no_ "
    "sugar on the `Stra\u00dfe`."
)


@pytest.mark.parametrize(
    ("quote", "passage"),
    [
        ("small\u201d tea shop \u2014 open", "small\u201d tea shop \u2014 open"),
        ('It\'s a "small" tea shop', "It\u2019s a \u201csmall\u201d tea shop"),
        ("It\u2032s a \u00absmall\u00bb tea", "It\u2019s a \u201csmall\u201d tea"),
        ("tea shop - open since 1998", "tea shop \u2014 open since 1998"),
        ("tea shop--open since", "tea shop \u2014 open since"),
        ("tea shop\u2013open since", "tea shop \u2014 open since"),
        ("Sencha... Visit us", "Sencha\u2026 Visit us"),
        ('"open since 1998. We pour"', "open since 1998. We pour"),
        ("\u201c...open since 1998\u2026\u201d", "open since 1998"),
        ("we pour gyokuro", "We pour **Gyokuro"),
        ("**We pour** Gyokuro and", "We pour **Gyokuro** and"),
        ("Visit us!  OUR TH\u00c9", "Visit us!\nOur the\u0301"),
        ("is well-known", "is well\u2011known"),
        ("water at 80 \u00b0C", "wa\u00adter at 80\u00a0\u00b0C"),
        ("fine leaves and no sugar", "\ufb01ne leaves and\u200b _no_ sugar"),
        ("on the STRASSE", "on the `Stra\u00dfe"),
    ],
)
def test_a_quote_is_found_and_is_the_passage_as_it_stands(quote: str, passage: str) -> None:
    assert folded(TEXT).passage(quote) == passage


@pytest.mark.parametrize(
    ("text", "quote", "passage"),
    [
        ("We \u2764\ufe0f tea here", "We \u2764 tea", "We \u2764\ufe0f tea"),
        ("Ask 5 \\* 3 guests", "5 * 3 guests", "5 \\* 3 guests"),
        ('He said "hello there".', 'He said \\"hello there\\"', 'He said "hello there"'),
        ("See [our guide](https://a.example/b) now", "See our guide now", "See [our guide](https://a.example/b) now"),
        ("Tom &amp; Jerry&#39;s&nbsp;tea", "Tom & Jerry's tea", "Tom &amp; Jerry&#39;s&nbsp;tea"),
        (
            "\u8336\u306f\u71b1\u3044\u3002\u7518\u304f\u306a\u3044\u3002",
            "\u8336\u306f\u71b1\u3044",
            "\u8336\u306f\u71b1\u3044",
        ),
        (
            "The tea is hot and sweet, served in cups.",
            "The tea is hot ... served in cups",
            "The tea is hot [...] served in cups",
        ),
        ("The tea is hot and sweet, served in cups.", "served in cups ... The tea is hot", None),
        ("The tea is hot and sweet, served in cups.", "The tea is hot ... served in mugs", None),
        ("The tea is hot and sweet, served in cups.", "The tea is hot ... cups", None),
    ],
)
def test_a_quote_is_found_through_markup_glyphs_and_what_it_leaves_out(
    text: str, quote: str, passage: str | None
) -> None:
    assert folded(text).passage(quote) == passage


@pytest.mark.parametrize(
    "quote",
    [
        "the best tea in the world",
        "It is a small tea shop",
        "tea shop open since",
        "open since 1999",
        "tea",
        '"tea"',
        "",
        "\u2014\u2014\u2014\u2014\u2014\u2014\u2014\u2014\u2014",
        ". . . . . . . .",
        "** ** ** ** **",
        "\u200b" * 20,
        "We pour ... Visit us",
    ],
)
def test_other_words_short_ones_and_punctuation_alone_are_no_quote(quote: str) -> None:
    assert folded(TEXT).passage(quote) is None


def test_the_whole_of_a_short_text_is_quote_enough() -> None:
    assert folded("Ice.").passage("ice.") == "Ice."
    assert folded("Ice.").passage("Ic") is None
    assert folded("").passage("") is None
    assert folded("\u2014!?").passage("\u2014!?") is None


@given(st.text("ab c\n", min_size=20), st.data())
def test_any_part_of_a_text_that_has_words_enough_is_found(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    quote = text[start : data.draw(st.integers(start + 1, len(text)))]
    passage = folded(text).passage(quote)
    if len(fold(quote)) >= MIN_QUOTE:
        assert passage is not None
        assert passage in text
        assert fold(passage) == fold(quote)
    else:
        assert passage is None or fold(text) == fold(quote)


@given(st.text())
def test_each_character_of_a_folded_text_has_its_place(text: str) -> None:
    found = folded(text)
    assert found.text == fold(text)
    assert len(found.spans) == len(found.text)
    assert all(0 <= start < end <= len(text) for start, end in found.spans)


def test_long_texts_and_hostile_quotes_are_cheap() -> None:
    began = time.process_time()
    folded("word \u201cx\u201d \u2014 " * 10_000).passage("' " * 50_000 + "x" + ". " * 50_000)
    assert time.process_time() - began < 10


LAID_OUT = """# Our menu

- Fresh tea from Uji
* Hot water, 80 \u00b0C
1. Warm the cups
2) Pour - slowly

| Name | Price |
|------|:-----:|
| Gyokuro | 5 EUR |

> Said by a guest
> on a Monday

<ul><li>Soft light</li><li>No music</li></ul>
"""


@pytest.mark.parametrize(
    ("quote", "passage"),
    [
        ("Our menu Fresh tea", "Our menu\n\n- Fresh tea"),
        ("Fresh tea from Uji Hot water", "Fresh tea from Uji\n* Hot water"),
        ("- Fresh tea from Uji\n* Hot water", "- Fresh tea from Uji\n* Hot water"),
        ("Fresh tea from Uji\nHot water", "Fresh tea from Uji\n* Hot water"),
        ("80 \u00b0C Warm the cups Pour - slowly", "80 \u00b0C\n1. Warm the cups\n2) Pour - slowly"),
        ("Name Price Gyokuro 5 EUR", "Name | Price |\n|------|:-----:|\n| Gyokuro | 5 EUR"),
        ("Gyokuro | 5 EUR", "Gyokuro | 5 EUR"),
        ("Said by a guest on a Monday", "Said by a guest\n> on a Monday"),
        ("Soft light No music", "Soft light</li><li>No music"),
        ("Hot water Fresh tea from Uji", None),
        ("Fresh tea from Uji Warm the cups", None),
        ("Gyokuro 6 EUR", None),
    ],
)
def test_a_quote_may_leave_out_the_marks_between_items_and_cells(quote: str, passage: str | None) -> None:
    assert folded(LAID_OUT).passage(quote) == passage
