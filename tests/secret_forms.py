"""The forms in which somebody may repeat a key, and how to find what is left of one."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus


def forms_of(key: str) -> dict[str, str]:
    """A key in every form that somebody may give it, by name."""
    raw, middle = key.encode(), len(key) // 2
    packed = {
        f"base64 {name} {offset}": pack(b"u:x"[:offset] + raw + b"!").decode()
        for offset in range(4)
        for name, pack in (("standard", base64.b64encode), ("url", base64.urlsafe_b64encode), ("mime", _lines))
    }
    return {
        "plain": key,
        "json": json.dumps(key),
        "json in json": json.dumps(json.dumps(key)),
        "url": quote(key, safe=""),
        "url twice": quote(quote(key, safe=""), safe=""),
        "form": quote_plus(key),
        "url in lower case": "".join(f"%{byte:02x}" for byte in raw),
        "html": html.escape(key),
        "html twice": html.escape(html.escape(key)),
        "html by number": "".join(f"&#{ord(character)};" for character in key),
        "unicode escapes": "".join(f"\\u{ord(character):04X}" for character in key),
        "repr": repr(key),
        "repr of bytes": repr(raw),
        "wrapped": f"{key[:middle]}\n    {key[middle:]}",
        "wrapped in json": json.dumps(f"{key[:middle]}\r\n{key[middle:]}"),
        "spaced": " ".join(key),
        "basic": f"Basic {base64.b64encode(f'user:{key}'.encode()).decode()}",
        "with its user": f"https://user:{quote(key, safe='')}@example.org/",
        "cut": key[: max(12, len(key) * 2 // 3)],
        "its end": key[-max(12, len(key) * 2 // 3) :],
        **packed,
    }


def _lines(raw: bytes) -> bytes:
    return base64.encodebytes(raw * 4)


def parts_in(text: str, key: str, length: int = 8) -> list[str]:
    """The parts of a key that a text shows."""
    return [key[at : at + length] for at in range(len(key) - length + 1) if key[at : at + length] in text]
