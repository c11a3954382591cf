"""Readers of text that somebody else wrote: how long they take on what is made to keep them busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.paths import DOCS
from vibe_prefect.errors import did_you_mean
from vibe_prefect.llm.json_answer import AnswerJSONError, read_json_answer
from vibe_prefect.llm.provider.received import without_thinking
from vibe_prefect.llm.quotes import folded
from vibe_prefect.templates.bounded_helper import MEMORY
from vibe_prefect.text import escape
from vibe_prefect.text.encodings import decode_text
from vibe_prefect.tools import ToolContext, ToolInputError, Workspace
from vibe_prefect.tools.builtin.text_tools import MAX_JOINED, combine
from vibe_prefect.tools.checks.json_check import check_json
from vibe_prefect.tools.checks.link_check import READ_SECONDS, links_tool
from vibe_prefect.tools.checks.page_links import read_page
from vibe_prefect.tools.checks.text_check import PATTERN_SECONDS, SEARCH_SECONDS, check_text

SIZES = [pytest.param(100_000, id="100kB"), pytest.param(1_000_000, id="1MB", marks=pytest.mark.storm)]
MAX_CPU = 20.0
"""Seconds on a slow machine; a reader that takes the square of the length takes minutes or hours for a megabyte."""


def filled(unit: str, size: int) -> str:
    return (unit * (size // len(unit) + 1))[:size]


MARKS = "\u0315\u0300"
HTML = [
    *("<", '<a href="', "<a href='", "<a b='", "<a b=c b=c ", "<!--", "<!a ", "<![CDATA[", "<?", "</a "),
    *("<a " + " " * 50, "<script>", "<style ", "&#", "<a\n", "<a/", "<a =", "<a b =", "<img src=x>"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("unit", HTML)
def test_html_is_read_in_linear_time(unit: str, size: int) -> None:
    begun = time.process_time()
    read_page(filled(unit, size), html=True)
    read_page(f"<a {filled(unit[1:] or ' ', size)}", html=True)
    assert time.process_time() - begun < MAX_CPU


@pytest.mark.parametrize(
    ("text", "links", "anchors"),
    [
        ('<a href="x">', [("x", 1)], []),
        ("\n<A HREF = 'x y'\n>\n<img src=y/>", [("x y", 2), ("y/", 4)], []),
        ('<a href="&amp;x" id=i name="n"><p name=m>', [("&x", 1)], ["i", "n"]),
        ('<a href="x" href="y"><link/href=z>', [("y", 1), ("z", 1)], []),
        ('<!-- <a href="x"> --><a href="y">', [("y", 1)], []),
        ("<script>\n'<a href=\"x\">'</script><a href=y>", [("y", 2)], []),
        ('<a href="x', [], []),
        ("<a href=x", [], []),
        ("1 < 2 <a href>", [("", 1)], []),
        ("</a href=x><?a href=x><!a href=x>", [], []),
    ],
)
def test_what_is_read_in_html(text: str, links: list[tuple[str, int]], anchors: list[str]) -> None:
    assert read_page(text, html=True) == {"links": links, "anchors": anchors}


MARKDOWN = [
    *("[", "![", "[a](", "> ", "*a **a ", "a**b", "<!--", "[a\n", "a\n", "|a|b|\n|-|-|\n", "[a]: b\n", '[a](b "', "<"),
]
GIVEN_UP = [
    f"check_links: to read the text as Markdown {reason}; check it in parts"
    for reason in (f"took longer than {READ_SECONDS} s", f"needs more than {MEMORY // 1_000_000} MB")
]


@pytest.mark.parametrize("unit", ["[", "<!--", pytest.param('<a href="', id="tags")])
async def test_reading_links_is_bounded_and_the_loop_goes_on(unit: str, tmp_path: Path) -> None:
    await links_are_bounded(unit, 81_000, tmp_path)


@pytest.mark.storm
@pytest.mark.parametrize("unit", MARKDOWN)
async def test_reading_a_megabyte_of_links_is_bounded(unit: str, tmp_path: Path) -> None:
    await links_are_bounded(unit, 1_000_000, tmp_path)


async def links_are_bounded(unit: str, size: int, folder: Path) -> None:
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begun)

    pulse = asyncio.create_task(beat())
    await asyncio.sleep(0)
    context = ToolContext(workspace=Workspace(folder, folder))
    begun, message = time.process_time(), ""
    try:
        await links_tool().execute({"text": filled(unit, size), "anchors": False, "files": False}, context)
    except ToolInputError as error:
        message = str(error)
    pulse.cancel()
    assert message in ("", *GIVEN_UP)
    assert time.process_time() - begun < MAX_CPU
    assert longest < MAX_CPU


def quietly(call: Callable[[], Any]) -> None:
    try:
        call()
    except (AnswerJSONError, ToolInputError):
        return


READERS: dict[str, Callable[[int], Any]] = {
    "text_white_space": lambda size: check_text(f"a{filled(chr(10) + ' ' * 1_000, size)}a", min_words=1),
    "text_one_word": lambda size: check_text(filled("e", size), min_words=1),
    "text_apostrophes": lambda size: check_text(filled("a'", size), min_words=1),
    "text_marks": lambda size: check_text(f"a{filled(MARKS, size)}", min_words=0),
    "text_phrases": lambda size: check_text(filled("lorem ipsum ", size), required=[f"w{n} x" for n in range(200)]),
    "json_unique": lambda size: check_json([{"a": n} for n in range(size // 50)], {"uniqueItems": True}),
    "json_unique_numbers": lambda size: check_json([n * (2**61 - 1) for n in range(size // 25)], {"uniqueItems": True}),
    "json_names": lambda size: check_json({f"k{n}": 1 for n in range(size // 10)}, {"additionalProperties": False}),
    "json_brackets": lambda size: check_json("[" * size),
    "json_digits": lambda size: check_json("9" * size),
    "quotes_marks": lambda size: folded(f"a{filled(MARKS, size)}").passage("z" * 20),
    "quotes_spaces": lambda size: folded(filled(" \n", size)).passage("z" * 20),
    "answer_braces": lambda size: read_json_answer(filled("{", size)),
    "answer_quotes": lambda size: read_json_answer(filled('{"', size)),
    "answer_spaces": lambda size: read_json_answer("a" + filled("{" + " " * 1_000, size)),
    "answer_lists": lambda size: read_json_answer("a" + filled("[1,", size)),
    "answer_fence": lambda size: read_json_answer(filled("`", size)),
    "answer_objects": lambda size: read_json_answer(filled('{"a":1} ', size)),
    "thinking": lambda size: without_thinking(filled("<think>", size)),
    "blank_lines": lambda size: without_thinking(filled("\n ", size)),
    "escape_markdown": lambda size: escape.markdown(filled("<", size), size),
    "escape_fence": lambda size: escape.fenced(filled("`\t", size)),
    "encoding_meta": lambda size: decode_text(filled("<meta ", size).encode(), "t", "x", mime="text/html"),
    "encoding_attributes": lambda size: decode_text(filled("<meta a= ", size).encode(), "t", "x", mime="text/html"),
    "encoding_xml": lambda size: decode_text(f"<?xml{filled(' encoding', size)}".encode(), "t", "x"),
    "hint": lambda size: did_you_mean("a" * size, [f"a{n}" for n in range(size // 10)]),
    "hints": lambda size: did_you_mean("abcdefgh" * 10, [f"abcdefg{n}" * 9 for n in range(size // 10)]),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
def test_readers_take_linear_time(read: Callable[[int], Any], size: int) -> None:
    begun = time.process_time()
    quietly(lambda: read(size))
    assert time.process_time() - begun < MAX_CPU


@pytest.mark.storm
def test_all_patterns_of_a_check_have_one_bound() -> None:
    begun = time.monotonic()
    with pytest.raises(ToolInputError, match="searched for more than"):
        check_text("ß" * 1_000_000, forbidden=["ss" * 400 + str(n) for n in range(200)], whole_words=False)
    assert time.monotonic() - begun < 10 * SEARCH_SECONDS


async def test_joined_texts_and_separators_are_bounded() -> None:
    with pytest.raises(ToolInputError, match="separator"):
        await combine.execute({"parts": ["a", "b"], "separator": "x" * 1_000_000})
    with pytest.raises(ToolInputError, match=f"at most {MAX_JOINED:,} are allowed"):
        await combine.execute({"parts": ["a"] * 30_000, "separator": "x" * 1_000})


def test_the_docs_state_the_bounds() -> None:
    text = " ".join((DOCS / "media.md").read_text().split())
    assert f"for at most {READ_SECONDS} s of computing time" in text
    assert f"for at most {PATTERN_SECONDS:g} s, all its words and patterns for {SEARCH_SECONDS:g} s" in text
    assert f"join at most {MAX_JOINED:,}" in text
