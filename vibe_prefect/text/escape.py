"""Foreign text, made inert for the place where it is shown.

Each function takes any text at all and returns text that the place can only show: it is one line, cut, without
control characters, and nothing in it is markup there. A page of HTML needs none of them: its template escapes.
"""
# ruff: noqa: RUF001 - the table of look-alike characters is about just these

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from vibe_prefect.characters import UNSEEN, visible

_MARKDOWN = re.compile(
    r"[&<>`|\[\]*~#\\{}$^]"
    r"|(?<![^\W_])_+|_+(?![^\W_])"  # between letters and digits it is no emphasis
    r"|^[-+=.:]|^\d+(?=[.)])"
)
"""Characters that markdown, with tables, strikethrough, formulas and HTML, could read as more than text. A web address
in the text may still become a link to just that address."""

_MERMAID_SAFE = re.compile(r"[A-Za-z0-9 .,_-]|[^\x00-\x7f]")
_LOOKALIKES = str.maketrans("<>[]`*|\\&~", "‹›［］ˋ∗¦＼＆∼")
_URL = re.compile(r"https?://[^\s<>\"'`\\]+", re.IGNORECASE)


def line(text: str, most: int) -> str:
    """Return text on one line, cut to that many characters; an ellipsis stands for what is missing."""
    joined = visible(" ".join(text[: 8 * most].split()))
    fits = len(joined) <= most and len(text) <= 8 * most
    return joined if fits else f"{joined[: most - 1]}…"


def markdown(text: str, most: int) -> str:
    """Return text for a markdown paragraph, list item, heading or table cell.

    Character references stand for what could be markup: no reader of markdown takes them for anything but text.
    """
    return _MARKDOWN.sub(_reference, line(text, most))


def markdown_text(text: str, *, begins_line: bool = True) -> str:
    """Return a part of a line for Markdown; see `markdown`, but nothing is cut or joined.

    Args:
        text: Text without a line end.
        begins_line: Whether nothing stands before it on its line, so that it could begin a list.
    """
    before = "" if begins_line else " "
    reference = _MARKDOWN.sub(_reference, before + visible(text)).removeprefix(before)
    return f"{reference[:-1]}&#33;" if reference.endswith("!") else reference  # before a link it would make a picture


def cell(text: str, most: int) -> str:
    """Return text for a cell of Prefect's table artifacts.

    One of Prefect's user interfaces shows a cell as it stands, the other reads it as markdown. So characters that
    look alike stand for those that are markup.
    """
    return line(text, most).translate(_LOOKALIKES)


def mermaid(text: str, most: int) -> str:
    """Return text for a quoted label of a mermaid diagram, which stands in a fenced block of markdown."""
    return "".join(char if _MERMAID_SAFE.fullmatch(char) else f"#{ord(char)};" for char in line(text, most))


def fenced(text: str, language: str = "") -> str:
    """Return a block of code that nothing in the text can close."""
    visible_text = "\n".join(visible(row.expandtabs(4)) for row in text.splitlines())
    longest = max((len(run) for run in re.findall("`+", visible_text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible_text}\n{fence}"


def markdown_link(text: str, url: str | None) -> str:
    """Return a link, or the text alone where a report may not lead to the address."""
    address = web_address(url)
    label = markdown(text, 200)
    return f"[{label}](<{address}>)" if address else label


def web_address(url: str | None) -> str | None:
    """Return an `http` or `https` address, quoted; `None` for anything else."""
    if url is None or len(url) > 2_000 or not _URL.fullmatch(url) or UNSEEN.search(url):
        return None
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return quote(url, safe="%/:?#[]@!$&*+,;=~-._") if host else None


def file_address(path: str, base: str = "") -> str | None:
    """Return where a page can find a file that a run made; `None` where no link may lead.

    Args:
        path: Relative to the run's output folder, or a web address.
        base: What leads from the page to the output folder, such as `../`; empty when the page lies in it.
    """
    if "://" in path:
        return web_address(path)
    parts = path.replace("\\", "/").split("/")
    if not path or path.startswith(("/", "\\")) or ".." in parts or UNSEEN.search(path):
        return None
    return f"{base or './'}{quote(path)}"


def _reference(match: re.Match[str]) -> str:
    return "".join(f"&#{ord(char)};" for char in match.group())
