"""Bytes to text, for all that reads text: by mark, given name, HTTP header or the document's own declaration."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from vibe_prefect.errors import ToolInputError

PIECE = 1_000_000
"""Characters of a long text that are handled at a time, so that no copy is made of all of it."""

MAX_PROLOGUE = 4_096
"""Bytes at the start of a document that are searched for a declaration."""

TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml")
"""Beginnings of the media types of texts, once `base_type` has made them plain."""

_MARKS = (  # UTF-32 first: its little-endian mark begins as that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_WEB_LABELS = {
    **dict.fromkeys(("iso8859-1", "ascii", "cp1252"), "windows-1252"),
    "iso8859-9": "cp1254",
    **dict.fromkeys(("iso8859-11", "tis-620"), "cp874"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
"""Codecs that documents on the web mean by another's name: WHATWG Encoding Standard, section 4.2."""

_ALIASES = {
    "unicode-1-1-utf-8": "utf-8",
    "x-unicode20utf8": "utf-8",
    "utf8mb4": "utf-8",
    "unicode": "utf-16",
    "ucs-2": "utf-16",
    "iso-10646-ucs-2": "utf-16",
    "iso88591": "latin-1",
    "x-gbk": "gbk",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "iso-8859-8-i": "iso-8859-8",
    "x-user-defined": "cp1252",
    "x-euc-jp": "euc_jp",
    "x-x-big5": "big5",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "dos-874": "cp874",
    **{f"x-cp125{digit}": f"cp125{digit}" for digit in range(9)},
}
"""Labels of the same standard that Python does not know."""

_NOT_FOR_DOCUMENTS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""Python's codecs that make text of bytes, and in which no document is written."""

_SINGLE_BYTES = {
    byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0) if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
"""Characters that windows-1252 has and ISO 8859-1 has not. The web reads its five open bytes as control characters."""

_XML = re.compile(rb"\s*<\?xml\s[^>]*?\bencoding\s*=\s*[\"']\s*([A-Za-z][\w.:-]*)\s*[\"']")
_HTML_START = re.compile(rb"\s*(?:<!doctype\s+html|<html)\b", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*)", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([^\s\"'/=>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CONTENT_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s;\"']+)", re.IGNORECASE)


class EncodingError(ToolInputError):
    """Bytes that are not text in their encoding, or a name that is not an encoding's."""


def decode_text(  # noqa: PLR0913 - options by keyword
    content: bytes, tool: str, name: str, *, given: str | None = None, charset: str | None = None, mime: str = ""
) -> str:
    """Decode a document.

    The first of these that is there decides: a byte order mark; `given`; `charset`; the document's own declaration
    (`<?xml encoding="...">`, in HTML also `<meta charset>` and `<meta http-equiv>`); UTF-8. A header or declaration
    that the bytes contradict is passed over. JSON is UTF-8, whatever its header says (RFC 8259, section 8.1).

    Args:
        content: The bytes.
        tool: The tool that reads it, for messages.
        name: What it calls the document.
        given: What the plan's author says; a codec's name, taken by the letter.
        charset: What the server says. Names that no codec has are passed over, as browsers do.
        mime: Media type of the document; empty where nobody said. What is not XML is read as the web's documents
            are, for which `iso-8859-1` is `windows-1252`.

    Returns:
        The text, without a byte order mark.

    Raises:
        EncodingError: `given` is not an encoding, or the bytes are not text in the encoding that decides.
    """
    marked = marked_codec(content)
    if marked is not None:
        candidates = [marked]
    elif given is not None:
        candidates = [_given(given, content, tool)]
    else:
        candidates = [*_stated(content, charset, mime), "utf-8"]
    failures: list[ValueError] = []
    for codec in candidates:
        try:
            return _decoded(content, codec).removeprefix("\ufeff")
        except ValueError as error:  # a UnicodeDecodeError; some codecs have errors of their own
            failures.append(error)
    raise _undecodable(content, f"{tool}: {name!r}", candidates[0], failures[0]) from failures[0]


def base_type(mime: str) -> str:
    """Return the plain type of a media type with a suffix: `application/xml` for `application/rss+xml`."""
    for suffix in ("json", "xml"):
        if mime.endswith(f"+{suffix}") and not mime.startswith("image/"):
            return f"application/{suffix}"
    return mime


def is_text_type(mime: str) -> bool:
    """Tell whether what has a media type is meant to be read as text."""
    return base_type(mime).startswith(TEXT_TYPES)


def marked_codec(start: bytes) -> str | None:
    """Return the codec whose byte order mark a document begins with; `None` where it has none."""
    return next((codec for mark, codec in _MARKS if start.startswith(mark)), None)


def is_well_formed(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, so that UTF-8 can write it; a long one is not copied."""
    if text.isascii():
        return True
    try:
        for start in range(0, len(text), PIECE):
            text[start : start + PIECE].encode()
    except UnicodeEncodeError:
        return False
    return True


def well_formed(text: str) -> str:
    """Return a text whose surrogate halves are joined; one without its other half becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _given(label: str, content: bytes, tool: str) -> str:
    codec = _codec(label)
    if codec is None:
        raise EncodingError(f"{tool}: encoding {label!r}: unknown encoding; name one such as 'utf-8' or 'windows-1252'")
    return _ordered(codec, content)


def _undecodable(content: bytes, document: str, codec: str, error: ValueError) -> EncodingError:
    reason = str(error)
    if isinstance(error, UnicodeDecodeError):
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"byte {error.start:,}, in line {line}, does not decode ({error.reason})"
    return EncodingError(f"{document} is not {codec} text: {reason}; give its `encoding` if it is text at all")


def _stated(content: bytes, charset: str | None, mime: str) -> Iterator[str]:
    """Yield the codecs that the header and the document itself name, in the order in which they count."""
    json, xml = _is(mime, "json"), _is(mime, "xml")
    bare = _without_mark(content)
    if json:
        yield bare or "utf-8"
    if charset:
        yield from _web_codec(charset, content, xml=xml)
    if bare is not None:
        yield bare
    elif not json:
        label, by_xml = _declared(content[:MAX_PROLOGUE], html=mime == "text/html")
        for codec in _web_codec(label, content, xml=xml or (by_xml and mime != "text/html")):
            # The declaration itself was readable as ASCII, which no text in UTF-16 or UTF-32 is.
            yield "utf-8" if codec.startswith(("utf-16", "utf-32")) else codec


def _is(mime: str, kind: str) -> bool:
    return mime in (f"application/{kind}", f"text/{kind}") or mime.endswith(f"+{kind}")


def _web_codec(label: str, content: bytes, *, xml: bool) -> Iterator[str]:
    codec = _codec(label)
    if codec is not None:
        yield _ordered(codec if xml else _WEB_LABELS.get(codec, codec), content)


def _codec(label: str) -> str | None:
    """Return Python's name of an encoding; `None` for what is not one, or is not for documents."""
    name = label.strip().lower()
    try:
        codec = codecs.lookup(_ALIASES.get(name, name)).name
        b"    ".decode(codec, "replace")  # refuses those that do not make text, such as `hex`
    except (LookupError, ValueError):  # a name with a NUL or a letter outside ASCII is a ValueError
        return None
    return None if codec in _NOT_FOR_DOCUMENTS else codec


def _ordered(codec: str, content: bytes) -> str:
    """Return a codec with its byte order: what has no mark is little-endian, unless its first letter shows otherwise.

    Python's own names without an order would mean that of the machine.
    """
    if codec in ("utf-16", "utf-32"):
        return f"{codec}-be" if content[:1] == b"\0" else f"{codec}-le"
    return codec


def _without_mark(content: bytes) -> str | None:
    """Recognise markup or JSON in UTF-16 without a mark by its first letters: XML 1.0, appendix F."""
    start = content[:4]
    if len(start) < 4 or not (start[:1] in b"<{[" or start[1:2] in b"<{["):
        return None
    if start[1] == start[3] == 0 and start[2]:
        return "utf-16-le"
    return "utf-16-be" if start[0] == start[2] == 0 and start[3] else None


def _declared(prologue: bytes, *, html: bool) -> tuple[str, bool]:
    """Return the label that a document declares, empty if it does not, and whether an XML declaration has it."""
    xml_declaration = _XML.match(prologue)
    if xml_declaration is not None:
        return xml_declaration[1].decode("ascii"), True
    if html or _HTML_START.match(_COMMENT.sub(b"", prologue)):
        return next(_meta_labels(prologue), b"").decode("ascii", "replace"), False
    return "", False


def _meta_labels(prologue: bytes) -> Iterator[bytes]:
    for tag in _META.finditer(_COMMENT.sub(b"", prologue)):
        attributes = {name.lower(): b"".join(values) for name, *values in _ATTRIBUTE.findall(tag[1])}
        if attributes.get(b"charset"):
            yield attributes[b"charset"]
        elif attributes.get(b"http-equiv", b"").strip().lower() == b"content-type":
            yield from _CONTENT_CHARSET.findall(attributes.get(b"content", b""))


def _decoded(content: bytes, codec: str) -> str:
    if codec == "windows-1252":
        return content.decode("latin-1").translate(_SINGLE_BYTES)
    return content.decode(codec)
