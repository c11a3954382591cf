"""Finds the links, and the anchors that links can lead to, in Markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it.token import Token

_LINKING = {"a": "href", "area": "href", "link": "href", "img": "src", "source": "src", "video": "src", "audio": "src"}
_TAG_NAME = re.compile(r"[a-zA-Z][^\s/>]*+")
_ATTRIBUTE = re.compile(
    r"[\s/]*+(?:(?P<name>[^\s/>][^\s/>=]*+)"
    r"(?:\s*+=\s*+(?:\"(?P<double>[^\"]*+)(?:\"|\Z)|'(?P<single>[^']*+)(?:'|\Z)|(?P<bare>[^\s>]*+)))?+)?+"
)
_NOT_IN_SLUGS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is written."""

    target: str
    """Target of the link."""

    line: int | None
    """The line that it stands in, or that its paragraph begins in; from 1."""

    def __str__(self) -> str:
        return self.target


@dataclass(slots=True)
class Page:
    """Links and anchors of a document."""

    links: list[Link] = field(default_factory=list[Link])
    """Its links, in order."""

    anchors: set[str] = field(default_factory=set[str])
    """Possible targets of a `#...`."""

    def unique(self) -> list[Link]:
        """Return each target once, where it stands first."""
        by_target: dict[str, Link] = {}
        for link in self.links:
            by_target.setdefault(link.target, link)
        return list(by_target.values())


def read_page(text: str, html: bool) -> dict[str, Any]:
    """Return a document's links and anchors as JSON data, for `page_of`.

    HTML takes time in proportion to its length; Markdown can take the square of it, so call this within bounds.

    Args:
        text: The document.
        html: Whether it is HTML; else it is Markdown, with HTML in it.
    """
    page = Page()
    if html:
        _read_html(text, page, 0)
    else:
        _read_markdown(text, page)
    links = [(link.target, link.line) for link in page.links]
    return {"links": links, "anchors": sorted(page.anchors)}


def page_of(data: Mapping[str, Any]) -> Page:
    """Return the page that `read_page` read."""
    return Page([Link(target, line) for target, line in data["links"]], set(data["anchors"]))


def _read_markdown(text: str, page: Page) -> None:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark").enable("table")
    reader.validateLink = _accept  # its own check would make plain text of a `javascript:` link
    slug_counts: dict[str, int] = {}
    tokens = reader.parse(text)
    for index, token in enumerate(tokens):
        line = token.map[0] if token.map else 0
        if token.type == "html_block":
            _read_html(token.content, page, line)
        elif token.type == "heading_open":
            page.anchors.add(_slug(_plain(tokens[index + 1].children or ()), slug_counts))
        elif token.type == "inline":
            for child in token.children or ():
                _read_inline(child, page, line)


def _accept(url: str) -> bool:  # noqa: ARG001 - its name is the library's
    return True


def _read_inline(token: Token, page: Page, line: int) -> None:
    if token.type == "html_inline":
        _read_html(token.content, page, line)
    name = {"link_open": "href", "image": "src"}.get(token.type)
    if name is not None:
        page.links.append(Link(str(token.attrs.get(name, "")), line + 1))


def _plain(tokens: Sequence[Token]) -> str:
    return "".join(token.content for token in tokens if token.type in ("text", "code_inline"))


def _slug(heading: str, slug_counts: dict[str, int]) -> str:
    """Return a heading's anchor as GitHub and most others make it; the second of a name has `-1` behind it."""
    slug = _NOT_IN_SLUGS.sub("", heading.strip().lower()).replace(" ", "-")
    count = slug_counts.get(slug, 0)
    slug_counts[slug] = count + 1
    return f"{slug}-{count}" if count else slug


def _read_html(text: str, page: Page, line: int) -> None:
    """Note the links and anchors of tags."""
    for tag, attributes, tag_line in _tags(text):
        page.anchors.update(filter(None, (attributes.get("id"), attributes.get("name") if tag == "a" else None)))
        name = _LINKING.get(tag)
        if name is not None and name in attributes:
            page.links.append(Link(attributes[name].strip(), line + tag_line))


def _tags(text: str) -> Iterator[tuple[str, dict[str, str], int]]:
    """Yield the start tags of HTML: name, attributes and line.

    One pass: what is not closed reaches to the end, as in browsers. Python's own reader begins again after each `<`
    that is not closed, which takes the square of the text's length.
    """
    position = counted = 0
    line = 1
    while (start := text.find("<", position)) >= 0:
        name = _TAG_NAME.match(text, start + 1)
        if name is None:
            position = _after_markup(text, start)
            continue
        attributes, position = _attributes(text, name.end())
        if position >= len(text):
            return
        line, counted = line + text.count("\n", counted, start), start
        tag = name[0].lower()
        yield tag, attributes, line
        if tag in ("script", "style"):  # what is in them is not markup
            end = re.compile(f"</{tag}", re.IGNORECASE).search(text, position)
            position = end.start() if end else len(text)


def _after_markup(text: str, start: int) -> int:
    """Return where what begins with `<` and is not a start tag ends: a comment, an end tag, or the `<` alone."""
    opening, closing = ("<!--", "-->") if text.startswith("<!--", start) else (text[start : start + 2], ">")
    if opening not in ("<!--", "<!", "<?", "</"):
        return start + 1
    end = text.find(closing, start + len(opening))
    return len(text) if end < 0 else end + len(closing)


def _attributes(text: str, position: int) -> tuple[dict[str, str], int]:
    """Return a tag's attributes, and where its `>` is; the text's end where it has none."""
    attributes: dict[str, str] = {}
    while True:
        match = _ATTRIBUTE.match(text, position)
        assert match is not None  # it matches nothing at all, too
        position = match.end()
        if match["name"] is None:
            return attributes, position
        attributes[match["name"].lower()] = unescape(match["double"] or match["single"] or match["bare"] or "")
