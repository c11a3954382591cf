"""Sounds that come from elsewhere: which kind of file they are, by how they begin."""

from __future__ import annotations

import re

from vibe_prefect.tools.media.packed import is_address, json_in, packed_in, unpacked

AUDIO_FORMATS = {".mp3": "mp3", ".wav": "wav", ".flac": "flac", ".opus": "opus", ".ogg": "opus", ".aac": "aac"}
"""By the suffix of a path: the protocol's word for the format that it asks for."""

AUDIO_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "webm": "audio/webm",
}
"""The media type of each format that is known."""

_SIGNS: dict[str, re.Pattern[bytes]] = {
    "mp3": re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]"),
    "wav": re.compile(rb"(RIFF|RIFX|RF64|BW64).{4}WAVE", re.DOTALL),
    "flac": re.compile(rb"fLaC"),
    "opus": re.compile(rb"OggS"),
    "aac": re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"),
    "m4a": re.compile(rb".{4}ftyp", re.DOTALL),
    "webm": re.compile(rb"\x1aE\xdf\xa3"),
}


def kind_of(content: bytes) -> str | None:
    """Return the format of a sound; `None` where it is none that is known, such as samples without a header."""
    return next((kind for kind, sign in _SIGNS.items() if sign.match(content)), None)


def sound_in(content: bytes) -> bytes | None:
    """Return the sound in an answer: the answer itself, or what it holds as base64 or a data URI, in JSON or bare."""
    if kind_of(content) is not None:
        return content
    body = json_in(content)
    bare = content.decode() if body is None and content.isascii() else None
    packed = packed_in(body) if body is not None else bare
    if packed is None or is_address(packed):
        return None
    try:
        sound = unpacked(packed)
    except ValueError:
        return None
    return sound if kind_of(sound) is not None else None
