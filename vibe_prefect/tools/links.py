"""Finds the links, and the anchors that links can lead to, in Markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

_LINKING = {"a": "href", "area": "href", "link": "href", "img": "src", "source": "src", "video": "src", "audio": "src"}
_NOT_IN_SLUGS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is written."""

    target: str
    """Where it leads."""

    line: int | None
    """The line that it stands in, or that its paragraph begins in; from 1."""

    def __str__(self) -> str:
        return self.target


@dataclass(slots=True)
class Page:
    """What a document has to do with links."""

    links: list[Link] = field(default_factory=list[Link])
    """Its links, in order."""

    anchors: set[str] = field(default_factory=set[str])
    """What a `#...` can lead to."""

    def unique(self) -> list[Link]:
        """Return each target once, where it stands first."""
        first: dict[str, Link] = {}
        for link in self.links:
            first.setdefault(link.target, link)
        return list(first.values())


def read_page(text: str, *, html: bool) -> Page:
    """Return a document's links and anchors.

    Args:
        text: The document.
        html: Whether it is HTML; else it is Markdown, with HTML in it.
    """
    page = Page()
    if html:
        _read_html(text, page, 0)
    else:
        _read_markdown(text, page)
    return page


def _read_markdown(text: str, page: Page) -> None:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark").enable("table")
    reader.validateLink = _accept  # its own check would make plain text of a `javascript:` link
    seen: dict[str, int] = {}
    tokens = reader.parse(text)
    for place, token in enumerate(tokens):
        line = token.map[0] if token.map else 0
        if token.type == "html_block":
            _read_html(token.content, page, line)
        elif token.type == "heading_open":
            page.anchors.add(_slug(_plain(tokens[place + 1].children or ()), seen))
        elif token.type == "inline":
            for part in token.children or ():
                _read_inline(part, page, line)


def _accept(url: str) -> bool:
    return True


def _read_inline(token: Token, page: Page, line: int) -> None:
    if token.type == "html_inline":
        _read_html(token.content, page, line)
    name = {"link_open": "href", "image": "src"}.get(token.type)
    if name is not None:
        page.links.append(Link(str(token.attrs.get(name, "")), line + 1))


def _plain(tokens: Sequence[Token]) -> str:
    return "".join(token.content for token in tokens if token.type in ("text", "code_inline"))


def _slug(heading: str, seen: dict[str, int]) -> str:
    """Return a heading's anchor as GitHub and most others make it; the second of a name has `-1` behind it."""
    slug = _NOT_IN_SLUGS.sub("", heading.strip().lower()).replace(" ", "-")
    count = seen.get(slug, 0)
    seen[slug] = count + 1
    return f"{slug}-{count}" if count else slug


def _read_html(text: str, page: Page, line: int) -> None:
    reader = _Reader(page, line)
    reader.feed(text)
    reader.close()


class _Reader(HTMLParser):
    """Notes the links and anchors of tags."""

    def __init__(self, page: Page, line: int) -> None:
        super().__init__()
        self._page = page
        self._line = line

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, and what can link to it."""
        given = dict(attrs)
        self._page.anchors.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        name = _LINKING.get(tag)
        if name is not None and name in given:
            self._page.links.append(Link((given[name] or "").strip(), self._line + self.getpos()[0]))
