"""Finding a quote in a text, though a model writes quotation marks, dashes and white space in its own way."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MIN_QUOTE = 8
"""Columns that a quote has at least, unless the judged text is shorter: a word or two prove nothing. Characters that
take two columns, such as Chinese ones, say as much in half as many."""

OMISSION = " [...] "
"""Stands between the parts of a passage that a quote cuts short by an ellipsis."""

_QUOTATION_MARKS = frozenset(
    "'\"\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u2032\u2033\u2035\u2036\u300c\u300d\u300e\u300f\u301d\u301e\u301f"
)
_DASHES = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2e3a\u2e3b\ufe58\ufe63\uff0d")
_MARKUP = frozenset("*_~`[]\\")
_IGNORED_CATEGORIES = ("Cf", "Cc")
"""Soft hyphens, zero-width characters, marks of direction and other controls; line ends count as white space before."""

_LINK_TARGET = r"(?<=\])\([^()\s]*\)"
_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31});"
# No more marks than anything written has: bringing marks into order takes the square of their number.
_MARKED = r"[^\u0300-\u036f][\u0300-\u036f]{0,30}|[\u0300-\u036f]{1,30}"
_CLUSTER = re.compile(rf"{_LINK_TARGET}|{_ENTITY}|[\ufe00-\ufe0f]|{_MARKED}")
_LAYOUT = re.compile(
    r"^[ \t>]{0,40}(?:[-*+\u2022\u2023\u25e6\u2043\u2219\u25aa\u25cf]|\d{1,3}[.)]|#{1,6})(?=[ \t])"
    r"(?: \[[ xX]\](?=[ \t]))?"
    r"|^[ \t]{0,40}>[ \t>]{0,40}|^[ \t|:+-]++$|(?<!\\)\||</?[A-Za-z][^<>]{0,200}>",
    re.MULTILINE,
)
"""Marks of lists, headings, quotations, tables, and tags: between what is written, and no part of it."""

_ELLIPSIS = re.compile(r"\.{3,}")
_EDGES = "'. "


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A text as it is compared, and where each of its characters comes from."""

    original: str
    """The text as it stands."""

    text: str
    """The text as it is compared: no typography, no markup, no case, single spaces."""

    spans: tuple[tuple[int, int], ...]
    """Beginning and end in the original, for each character of `text`."""

    def passage(self, quote: str) -> str | None:
        """Return the passage that a quote means, as it stands in the original; `None` where it is not there.

        A quote that is too short, or only punctuation, means none. Quotation marks and ellipses around the whole are
        not part of it, where it is not found with them. An ellipsis within it leaves something out: each part has to
        be there, in this order, and long enough by itself. Marks of lists and tables need not be in it.
        """
        return self._passage(fold(quote)) or _without_layout(self.original)._passage(fold(_blank_layout(quote)))  # noqa: SLF001 - of this class

    def _passage(self, needle: str) -> str | None:
        bare = needle.strip(_EDGES)
        parts = [fragment.strip(_EDGES) for fragment in _ELLIPSIS.split(bare)]
        spans = self._places([needle]) or self._places([bare]) or self._places(parts)
        return OMISSION.join(self.original[start:end] for start, end in spans) if spans else None

    def _places(self, needles: list[str]) -> list[tuple[int, int]]:
        """Return where in the original the needles stand, one after another; empty where one of them does not."""
        spans: list[tuple[int, int]] = []
        position = 0
        for needle in needles:
            start = self.text.find(needle, position) if self._proves(needle) else -1
            if start < 0:
                return []
            position = start + len(needle)
            spans.append((self.spans[start][0], self.spans[position - 1][1]))
        return spans

    def _proves(self, needle: str) -> bool:
        long_enough = _columns(needle) >= min(MIN_QUOTE, max(1, _columns(self.text[:MIN_QUOTE])))
        return long_enough and any(map(str.isalnum, needle))


def folded(text: str) -> FoldedText:
    """Return a text as quotes are looked for in it."""
    return _folded(text, text)


@lru_cache(maxsize=1)
def _without_layout(text: str) -> FoldedText:
    """Return a text as quotes are looked for that leave out the marks of its layout."""
    return _folded(text, _blank_layout(text))


def _folded(original: str, text: str) -> FoldedText:
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    for piece, start, end in _joined(text):
        pieces.append(piece)
        spans += [(start, end)] * len(piece)
    return FoldedText(original, "".join(pieces), tuple(spans))


def _blank_layout(text: str) -> str:
    """Return a text with spaces for the marks of its layout; what is left stays at its place."""
    return _LAYOUT.sub(lambda mark: " " * len(mark.group()), text)


def fold(text: str) -> str:
    """Return a text without typography, markup and case, for comparison."""
    return "".join(piece for piece, _, _ in _joined(text))


def _joined(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield pieces without doubled spaces, marks and dashes, and without spaces around dashes and at both ends."""
    space: tuple[str, int, int] | None = None
    last = ""
    for piece, start, end in _pieces(text):
        if piece == " ":
            space = space or (piece, start, end)
            continue
        if space is not None and last not in ("", "-") and piece != "-":
            yield space
            last = " "
        space = None
        if piece in ("-", "'") and piece == last:
            continue
        yield piece, start, end
        last = piece


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    for cluster in _CLUSTER.finditer(text):
        piece = _piece(cluster.group())
        for word in piece.split(" ") if len(piece) > 1 and " " in piece else [piece]:
            if word:
                yield word, cluster.start(), cluster.end()


def _piece(cluster: str) -> str:
    """Return what stands for a character and the marks on it; nothing where it does not count."""
    if cluster in _QUOTATION_MARKS:
        return "'"
    if cluster in _DASHES:
        return "-"
    if cluster.isspace():
        return " "
    if cluster in _MARKUP or _is_silent(cluster):
        return ""
    if cluster[0] == "&" and len(cluster) > 1 and (character := html.unescape(cluster)) != cluster:
        return fold(character) or (" " if character.isspace() else character)
    plain = unicodedata.normalize("NFKC", cluster)
    return " " if plain.isspace() else unicodedata.normalize("NFKC", plain.casefold())


def _is_silent(cluster: str) -> bool:
    """Tell whether nothing of a piece is read: a link's address, a choice of glyphs, a control character."""
    is_target = len(cluster) > 1 and cluster[0] == "(" and cluster[-1] == ")"
    return is_target or "\ufe00" <= cluster <= "\ufe0f" or unicodedata.category(cluster[0]) in _IGNORED_CATEGORIES


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
