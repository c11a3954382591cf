from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.reporting.reports import HOSTILE
from vibe_prefect.text.escape import (
    cell,
    fenced,
    file_address,
    line,
    markdown,
    markdown_link,
    mermaid,
    web_address,
)

ANY = st.one_of(
    st.text(max_size=200), st.sampled_from(HOSTILE), st.text("`~<>[]()|!*_#&;:%\\\"' \n\tab1.-", max_size=60)
)
READER = MarkdownIt("gfm-like", {"linkify": False})
REFERENCE = re.compile(r"&#\d+;")
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(ANY)
def test_markdown_holds_nothing_that_is_markup(text: str) -> None:
    rest = REFERENCE.sub("\n", markdown(text, 500)).replace("\n", "")
    assert not set(rest) & set("<>[]|`*~#&\\")
    # A renderer finds one paragraph of text in it, whatever stands around it.
    inline = [token for token in READER.parse(f"a {markdown(text, 500)} b") if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children or []}
    assert len(inline) == 1
    assert kinds <= {"text", "text_special"}
    assert not INVISIBLE.search(rest)
    assert "\n" not in rest


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=100))
def test_markdown_says_what_the_text_says(text: str) -> None:
    shown = REFERENCE.sub(lambda found: chr(int(found.group()[2:-1])), markdown(text, 500))
    assert shown == " ".join(text.split())


@given(ANY)
def test_cells_hold_no_markup_either_way(text: str) -> None:
    shown = cell(text, 500)
    assert not set(shown) & set("<>[]`*|&~")
    assert not INVISIBLE.search(shown)
    assert "\n" not in shown


@given(ANY)
def test_mermaid_labels_cannot_end(text: str) -> None:
    rest = re.sub(r"#\d+;", "", mermaid(text, 500))
    assert not set(rest) & set("\"'`<>[](){}|;%#&:\\\n")


@given(ANY, st.sampled_from(["", "sh", "mermaid"]))
def test_a_fence_is_closed_by_its_own_end_only(text: str, language: str) -> None:
    first, *inner, last = fenced(text, language).split("\n")
    fence = last.strip()
    assert set(fence) == {"`"}
    assert first == fence + language
    assert all(fence not in row for row in inner)


@given(ANY, st.integers(min_value=1, max_value=50))
def test_lines_are_cut(text: str, most: int) -> None:
    shown = line(text, most)
    assert len(shown) <= most
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- x", "&#45; x"),
        ("1. x", "&#49;. x"),
        ("2026 was", "2026 was"),
        ("a-b_c", "a-b_c"),
        ('tool_name (it\'s "new")!', 'tool_name (it\'s "new")!'),
        ("_a_ __b__", "&#95;a&#95; &#95;&#95;b&#95;&#95;"),
        ("=== x", "&#61;== x"),
    ],
)
def test_a_text_begins_no_list_and_no_heading(text: str, shown: str) -> None:
    assert markdown(text, 100) == shown


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("HTTP://example.org", "HTTP://example.org"),
        ("https://example.org/(x)", "https://example.org/%28x%29"),
        ("javascript:alert(1)", None),
        ("JaVaScRiPt://x%0aalert(1)", None),
        ("data:text/html,x", None),
        ("https://", None),
        ("https://[bad", None),
        ("https://example.org/<b>", None),
        ("https://example.org/a b", None),
        (" https://example.org", None),
        ("https://example.org/\u202e", None),
        (f"https://example.org/{'x' * 3_000}", None),
        (None, None),
    ],
)
def test_web_addresses(url: str | None, address: str | None) -> None:
    assert web_address(url) == address


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("a/b c.png", "./a/b%20c.png"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ('a"><script>', "./a%22%3E%3Cscript%3E"),
        ("../secret", None),
        ("a/../../secret", None),
        ("a\\..\\b", None),
        ("/etc/passwd", None),
        ("//evil.example/x", None),
        ("\\\\evil.example\\x", None),
        ("", None),
        ("a\x00b", None),
        ("https://example.org/a.png", "https://example.org/a.png"),
        ("javascript://example.org/%0aalert(1)", None),
        ("s3://bucket/key", None),
    ],
)
def test_file_addresses(path: str, address: str | None) -> None:
    assert file_address(path) == address


@given(ANY)
def test_no_path_leads_anywhere_but_below_the_page(path: str) -> None:
    address = file_address(path)
    assert address is None or re.fullmatch(r"(\./|https?://)[^\s<>\"'`]*", address, re.IGNORECASE)


def test_file_addresses_from_another_place() -> None:
    assert file_address("a.png", "../out/") == "../out/a.png"


def test_links_lead_to_the_web_or_nowhere() -> None:
    assert markdown_link("x", "https://example.org") == "[x](<https://example.org>)"
    assert markdown_link("[x](y)", "javascript:alert(1)") == "&#91;x&#93;(y)"
