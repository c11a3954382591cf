"""The forms in which servers that speak OpenAI's protocol put a picture or a sound into JSON, and their errors."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote_to_bytes

_LISTS = ("data", "images", "artifacts", "output", "result")
_ENTRIES = ("b64_json", "base64", "b64", "url", "image_url", "image", "audio_url", "audio", "audio_base64", "data")
_SPACE = re.compile(r"\s+")
_URL_SAFE = str.maketrans("-_", "+/")
_SAID = ("message", "msg", "detail", "error", "status_msg", "reason")
MAX_DEPTH = 4
"""Levels of an answer that are searched."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that a server answers as if all were well."""

    message: str
    """Message of the error."""

    code: str | None
    """Its word or number for that; `None` where there is none."""

    @property
    def status(self) -> int | None:
        """The HTTP status that it should have had, where the code is one."""
        return int(self.code) if self.code and re.fullmatch(r"[45]\d\d", self.code) else None


def json_in(content: bytes) -> Any:
    """Return the JSON of an answer; `None` where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def packed_in(body: Any) -> str | None:
    """Return what stands for the bytes in an answer: base64, a data URI or an address; `None` where nothing does.

    The protocol has `{"data": [{"b64_json": ...}]}` or `url` in its place. Compatible servers also answer with a list
    `images`, with entries that are plain texts, with `{"audio": ...}`, or with one object where a list should be.
    """
    return _found(body, _LISTS + _ENTRIES, MAX_DEPTH)


def _found(value: Any, names: tuple[str, ...], depth: int) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if not depth:
        return None
    if isinstance(value, list):
        return _found(cast("list[Any]", value)[0], names, depth - 1) if value else None
    facts = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    entries = (_found(facts[name], _ENTRIES, depth - 1) for name in names if name in facts)
    return next((entry for entry in entries if entry is not None), None)


def is_address(packed: str) -> bool:
    """Tell whether it is an address to fetch from."""
    return packed.lstrip()[:8].lower().startswith(("http://", "https://"))


def unpacked(packed: str) -> bytes:
    """Return the bytes of base64 or of a data URI: in lines or not, of either alphabet, with or without padding.

    Raises:
        ValueError: It is neither.
    """
    text = packed.strip()
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma:
            raise ValueError("the data URI has no comma")
        if not head.lower().rstrip().endswith(";base64"):
            return unquote_to_bytes(text)
        text = unquote_to_bytes(text).decode("ascii", "replace") if "%" in text else text
    plain = _SPACE.sub("", text).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"it is not base64: {error}") from error


def refusal_in(body: Any) -> Refusal | None:
    """Return the error in an answer that holds nothing else; `None` where there is none."""
    if not isinstance(body, dict):
        return None
    facts = cast("dict[str, Any]", body)
    if any(facts.get(name) for name in (*_LISTS, *_ENTRIES)):
        return None
    for name in ("error", "errors", "detail", "base_resp"):
        if facts.get(name):
            return _refusal(facts[name], facts)
    stated = facts.get("message") if facts.get("code") or facts.get("success") is False else None
    return _refusal(stated, facts) if stated else None


def revised_prompt_in(body: Any) -> str | None:
    """Return the prompt that a model made of the one it was given, where the answer has it."""
    entries: Any = cast("dict[str, Any]", body).get("data") if isinstance(body, dict) else None
    entry: Any = cast("list[Any]", entries)[0] if isinstance(entries, list) and entries else None
    revised: Any = cast("dict[str, Any]", entry).get("revised_prompt") if isinstance(entry, dict) else None
    return revised if isinstance(revised, str) else None


def _refusal(stated_error: Any, facts: dict[str, Any]) -> Refusal:
    listed = cast("list[Any]", stated_error) if isinstance(stated_error, list) else [stated_error]
    entry: Any = listed[0]
    inner = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    message = next((str(inner[name]) for name in _SAID if inner.get(name)), str(cast("object", entry)))
    codes = [source.get(name) for source in (inner, facts) for name in ("code", "status", "status_code", "type")]
    stated = [str(code) for code in codes if isinstance(code, str | int) and not isinstance(code, bool)]
    return Refusal(message, next(iter(stated), None))
