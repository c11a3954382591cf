"""The one table of characters that do something unseen, and how each is written where it must not do it."""

from __future__ import annotations

import re

_HALVES = "\ud800-\udfff"
_UNSENDABLE = f"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_HALVES}\ufffe\uffff"
_UNSEEN = "\r\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"

WORD_BREAKS = "\xad\u200b\u2060"
"""Where a word may be wrapped, or may not be, without a sign of it."""

HALF = re.compile(f"[{_HALVES}]")
"""Half of a character: a surrogate that stands alone."""

UNSENDABLE = re.compile(f"[{_UNSENDABLE}]")
"""Control characters but tab and line breaks; lone surrogates, which have no UTF-8; what is no character at all."""

UNSEEN = re.compile(f"[{_UNSENDABLE}{_UNSEEN}]")
"""Those, and what a reader does not see: other line breaks, invisible spaces, and what turns the direction of writing.
The joiners are not among them: emoji and some scripts are not themselves without them."""


def escaped(text: str, characters: re.Pattern[str]) -> str:
    r"""Return text with certain characters written as an escape such as `\x1b`.

    Args:
        text: Any text.
        characters: Matches each of them.
    """
    return characters.sub(lambda match: ascii(match.group())[1:-1], text)


def visible(text: str) -> str:
    r"""Return text for people, on a terminal or a page: what they would not see is an escape such as `\u202e`."""
    return escaped(text, UNSEEN)
