"""Markdown of a model, rendered: what it keeps, and what cannot be in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.reporting.reports import HOSTILE
from vibe_prefect.reporting.outputs.rendered import rendered_html, rendered_markdown

INLINE = {"strong", "em", "s", "a", "code", "br"}
BLOCKS = {
    "p",
    "hr",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
ATTRIBUTES = {"href", "title", "rel", "class", "start"}
PIECES = [
    *HOSTILE,
    "# head",
    "- item",
    "> quote",
    "1) one",
    "\n",
    "\n\n",
    "    ",
    "!",
    "[",
    "](",
    "<b>",
    "|",
    "`",
    "*",
    "~~",
    "$",
    "&",
    "\\",
]


class Inspector(HTMLParser):
    """Collects the tags of HTML, and whatever must not be in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.wrong += [tag] if tag not in INLINE | BLOCKS else []
        for name, value in attrs:
            fits = name in ATTRIBUTES and (name != "href" or re.match(r"https?://", value or ""))
            self.wrong += [] if fits else [f"{tag} {name}={value}"]


def all_tokens(tokens: list[Token]) -> list[Token]:
    return [part for token in tokens for part in (token, *all_tokens(token.children or []))]


def read_by_anybody(text: str) -> list[str]:
    """Return what a reader that allows everything finds in Markdown, of what it must not find."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    reader.validateLink = lambda url: True  # pyright: ignore[reportAttributeAccessIssue]
    wrong = [token for token in all_tokens(reader.parse(text)) if token.type in ("html_block", "html_inline", "image")]
    links = [str(token.attrs["href"]) for token in all_tokens(reader.parse(text)) if token.type == "link_open"]
    drawn = [token for token in all_tokens(reader.parse(text)) if token.type == "fence" and token.info == "mermaid"]
    return [*(token.content for token in (*wrong, *drawn)), *(url for url in links if not re.match("https?://", url))]


@pytest.mark.parametrize(
    ("text", "html", "markdown"),
    [
        ("# A *b*\n\nc\nd", "<h4>A <em>b</em></h4>\n<p>c<br />\nd</p>\n", "### A *b*\n\nc\\\nd"),
        ("- a\n- b\n  1. c", None, "- a\n- b\n  1. c"),
        ("- a\n\n- b", None, "- a\n\n- b"),
        ("3. a\n4. b", None, "3. a\n4. b"),
        ("> a\n>\n> b", None, "> a\n>\n> b"),
        ("**a** ~~b~~ `c`", None, "**a** ~~b~~ `c`"),
        ("| a | b |\n|:--|--:|\n| 1 | 2 |", None, "| a | b |\n| :-- | --: |\n| 1 | 2 |"),
        ("```python\nx = '*'\n```", None, "```python\nx = '*'\n```"),
        ("```mermaid\na-->b\n```", None, "```\na-->b\n```"),
        ("a_b 2 * 3 <i>", "<p>a_b 2 * 3 &lt;i&gt;</p>\n", "a_b 2 &#42; 3 &#60;i&#62;"),
        ("[x](https://a.example/b_c)", None, "[x](<https://a.example/b_c>)"),
        ("[x](javascript:y)", "<p>[x](javascript:y)</p>\n", "&#91;x&#93;(javascript:y)"),
        ("[x](../y)", "<p>[x](../y)</p>\n", "&#91;x&#93;(../y)"),
        ("![x](data:image/png;base64,AA)", "<p>![x](data:image/png;base64,AA)</p>\n", None),
        ("wow![x](https://a.example/p.png)", None, "wow[&#91;x&#93;](<https://a.example/p.png>)"),
        ("wow!\\\n[x](https://a.example)", None, "wow&#33;\\\n[x](<https://a.example>)"),
        ("a\u202eb", "<p>a\\u202eb</p>\n", "a&#92;u202eb"),
        ("*a*. b\n1\\. c", None, "*a*. b\\\n&#49;. c"),
        ("", "", ""),
    ],
)
def test_markdown_is_rendered(text: str, html: str | None, markdown: str | None) -> None:
    assert html is None or rendered_html(text) == html
    assert markdown is None or rendered_markdown(text) == markdown


def test_a_table_keeps_its_sides_without_a_style() -> None:
    html = rendered_html("| a | b |\n|:-:|--:|\n| 1 | 2 |")
    assert '<th class="center">a</th>' in html
    assert '<td class="right">2</td>' in html


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=14).map("".join))
def test_no_text_becomes_more_than_text(text: str) -> None:
    assert Inspector(rendered_html(text)).wrong == []
    assert read_by_anybody(rendered_markdown(text)) == []


@pytest.mark.parametrize("piece", ["[", "![[", "*a_ ", "<", "a\n", "|a", "[^", "> ", "- "])
def test_long_hostile_text_stays_in_proportion(piece: str) -> None:
    text = piece * (5_000 // len(piece))
    assert len(rendered_html(text)) < 80_000
    assert len(rendered_markdown(text)) < 80_000
