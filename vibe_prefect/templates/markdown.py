"""The filter `markdown` of templates: HTML of a Markdown text."""

from __future__ import annotations

from functools import cache
from typing import Any


def html_of(text: object) -> str:
    """Return the HTML of a Markdown text (CommonMark, with tables).

    HTML in the text shows as text, and links that would run a script are none, so a model's words cannot become code.
    """
    return str(_reader().render(str(text)))


@cache
def _reader() -> Any:
    from markdown_it import MarkdownIt  # at the first use: most templates do without

    return MarkdownIt("commonmark", {"html": False}).enable("table")
