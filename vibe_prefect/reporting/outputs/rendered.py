"""Markdown that a model wrote, rendered for a reader whom it must not attack.

What it may hold is paragraphs, headings, lists, quotes, code, tables, emphasis, and links to `http` and `https`
addresses. HTML in it is text; a picture in it is the link to its address, since loading it would tell its server who
reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from markupsafe import Markup, escape

from vibe_prefect.characters import visible
from vibe_prefect.text.escape import fenced, markdown_text, web_address

HTML_HEADINGS = (4, 6)
"""Levels of the highest and the lowest heading of a text in HTML, below those of the page around it."""

MARKDOWN_HEADINGS = (3, 4)
"""The same in Markdown: Prefect's UI shows headings below the fourth level as plain text."""

_LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+-]{1,20}")
_DRAWN = frozenset({"mermaid", "math", "latex"})
"""Languages whose code a reader of Markdown draws instead of showing it."""

_ALIGNMENTS = {"text-align:left": "left", "text-align:center": "center", "text-align:right": "right"}
_RULES = {"": "---", "left": ":--", "center": ":-:", "right": "--:"}


def rendered_html(text: str) -> Markup:
    """Return a text's Markdown as HTML: no address is loaded, and nothing acts.

    Args:
        text: Any text.
    """
    tokens = _parsed(text)
    for token in tokens:
        _tame(token)
    reader = _reader()
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 - made without raw HTML, see above


def rendered_markdown(text: str) -> str:
    """Return a text's Markdown as Markdown that means the same to every reader, and that holds nothing else.

    Args:
        text: Any text.
    """
    return _Writer().blocks(SyntaxTreeNode(_parsed(text)).children, loose=True)


def table_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table; its cells are Markdown already."""
    return f"| {' | '.join(cells)} |"


def table_rule(alignments: Sequence[str]) -> str:
    """Return the line below the headings of a Markdown table.

    Args:
        alignments: `left`, `center` or `right` for each column, or nothing.
    """
    return table_row([_RULES[alignment] for alignment in alignments])


def _parsed(text: str) -> list[Token]:
    return _reader().parse(visible(_LINE_END.sub("\n", text)))


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    reader.validateLink = lambda url: web_address(url) is not None  # pyright: ignore[reportAttributeAccessIssue]
    reader.add_render_rule("image", _picture)
    return reader


def _picture(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, environment: Any) -> str:
    """Render a picture as the link to its address, or as its description alone."""
    label = renderer.renderInlineAsText(tokens[index].children or [], options, environment) or "picture"
    address = web_address(str(tokens[index].attrs.get("src") or ""))
    if address is None:
        return str(escape(f"[{label}]"))
    return str(Markup('<a href="{}" rel="noreferrer noopener nofollow">[{}]</a>').format(address, label))


def _tame(token: Token) -> None:
    """Put a token into the form that the page allows: no style of its own, low headings, links that tell nothing."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{_level(token.tag, HTML_HEADINGS)}"
    if "style" in token.attrs:
        token.attrs["class"] = _ALIGNMENTS.get(str(token.attrs.pop("style")), "left")
    if token.type == "link_open":
        address = str(token.attrs["href"])
        token.attrs = {"href": address, "title": address, "rel": "noreferrer noopener nofollow"}
    for child in token.children or []:
        _tame(child)


def _level(tag: str, levels: tuple[int, int]) -> int:
    highest, lowest = levels
    return min(lowest, int(tag[1:]) + highest - 1)


class _Writer:
    """Writes parsed Markdown as Markdown in which every text is escaped."""

    def blocks(self, nodes: Sequence[SyntaxTreeNode], *, loose: bool) -> str:
        """Return blocks, one below another."""
        return ("\n\n" if loose else "\n").join(filter(None, map(self.block, nodes)))

    def block(self, node: SyntaxTreeNode) -> str:
        """Return one block, without a line end."""
        match node.type:
            case "paragraph":
                return self.inline(node)
            case "heading":
                return f"{'#' * _level(node.tag, MARKDOWN_HEADINGS)} {self.inline(node, line_end=' ')}"
            case "bullet_list":
                return self.items(node, ["-"] * len(node.children))
            case "ordered_list":
                start = int(node.attrs.get("start") or 1)
                return self.items(node, [f"{start + index}." for index in range(len(node.children))])
            case "blockquote":
                return _prefixed(self.blocks(node.children, loose=True), "> ", "> ")
            case "fence" | "code_block":
                return fenced(node.content.rstrip("\n"), _language(node.info))
            case "table":
                return self.table(node)
            case "hr":
                return "***"
            case _:
                return fenced(node.content)

    def items(self, node: SyntaxTreeNode, marks: list[str]) -> str:
        """Return a list; a list without blank lines between its items stays so."""
        is_tight = all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")
        items = [
            _prefixed(self.blocks(item.children, loose=not is_tight), f"{mark} ", " " * (len(mark) + 1))
            for item, mark in zip(node.children, marks, strict=True)
        ]
        return ("\n" if is_tight else "\n\n").join(items)

    def table(self, node: SyntaxTreeNode) -> str:
        """Return a table."""
        head, *body = [row for part in node.children for row in part.children]
        alignments = [_ALIGNMENTS.get(str(cell.attrs.get("style")), "") for cell in head.children]
        rows = [table_row([self.inline(cell, line_end=" ") for cell in row.children]) for row in (head, *body)]
        return "\n".join([rows[0], table_rule(alignments), *rows[1:]])

    def inline(self, node: SyntaxTreeNode, line_end: str = "\\\n") -> str:
        """Return the text of a block."""
        parts = [self.part(part, line_end) for child in node.children for part in child.children]
        return "".join(parts).strip()

    def part(self, node: SyntaxTreeNode, line_end: str) -> str:
        """Return a part of a text."""
        inner = "".join(self.part(child, line_end) for child in node.children)
        match node.type:
            case "text" | "text_special":
                return markdown_text(node.content, begins_line=_begins_line(node))
            case "softbreak" | "hardbreak":
                return line_end
            case "strong":
                return f"**{inner}**"
            case "em":
                return f"*{inner}*"
            case "s":
                return f"~~{inner}~~"
            case "code_inline":
                return _code(node.content)
            case "link":
                return _link(inner, str(node.attrs.get("href") or ""))
            case "image":
                return _link(f"&#91;{inner or 'picture'}&#93;", str(node.attrs.get("src") or ""))
            case _:
                return markdown_text(node.content)


def _begins_line(node: SyntaxTreeNode) -> bool:
    before = node.previous_sibling
    if before is None:
        return node.parent is not None and node.parent.type == "inline"
    return before.type in ("softbreak", "hardbreak")


def _prefixed(text: str, first: str, further: str) -> str:
    """Return lines behind a list's mark or a quote's."""
    head, *rest = text.split("\n")
    return "\n".join([f"{first}{head}".rstrip(), *(f"{further}{row}".rstrip() for row in rest)])


def _language(info: str) -> str:
    language = (info.split() or [""])[0]
    return language if _LANGUAGE.fullmatch(language) and language.lower() not in _DRAWN else ""


def _code(content: str) -> str:
    if not content.strip() or re.search(r"[`|\\]", content):  # no table and no reader can take these for the code's end
        return markdown_text(content)
    return f"`{visible(content)}`"


def _link(label: str, url: str) -> str:
    address = web_address(url)
    return f"[{label}](<{address}>)" if address is not None else label
