"""Keeping keys out of what is shown: a provider's message may repeat the key that it was sent, in any form.

The secrets are those that were read (`keysources.obtained`), those in the environment's variables that are named like
secrets, and the passwords in addresses there. They are held for the life of the process, so as to be found.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from urllib.parse import unquote

from vibe_prefect.characters import WORD_BREAKS

HIDDEN = "***"

MIN_LENGTH = 8
"""Characters from which a variable's value counts as a secret: shorter ones occur by chance."""

MIN_KEY = 6
"""Characters from which a key is hidden wherever it stands; a shorter one only where something calls it a key."""

MIN_CUT = 16
"""Characters from which the beginning or the end of a key is hidden, too: it may have been cut."""

MAX_REMEMBERED = 1_000
"""Secrets that are held at most; the oldest is forgotten."""

MAX_PIECE = 100
"""Characters of the pieces in which a longer secret is looked for, such as a private key."""

MAX_SEARCHED = 1_000_000
"""Bytes of a file up to which it is searched for every form of a secret."""

_MAX_WORD = 12
_MIN_PART = 12
_MAX_PART = 20
_EDGE = 4

_NAMED_LIKE_A_SECRET = re.compile(
    r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|AUTH_STRING|BEARER_TOKEN_BEDROCK)$", re.IGNORECASE
)
_USER_IN_ADDRESS = re.compile(r"(?<=://)([^\s/?#@]+)(?=@)")
_SECRET_IN_QUERY = re.compile(
    r"(?<=[?&])([\w.-]*(?:key|token|secret|password|signature|sig)=)([^&#\s]+)", re.IGNORECASE
)

_GAP = rf"(?:[\s{WORD_BREAKS}]|\\[nrt])*"
"""Pattern of what may separate two characters of a key in a text that was wrapped."""

_CALLED_A_KEY = r"(?i:(?:bearer|basic|token|key|secret|password|authorization)\b[\s\"'=:\\]{1,6})"

_remembered: dict[str, None] = {}
_lock = Lock()


def remember(*secrets: str) -> None:
    """Hold secrets, so that they are hidden from now on wherever this process shows something."""
    with _lock:
        for secret in filter(None, (secret.strip() for secret in secrets)):
            _remembered.pop(secret, None)
            _remembered[secret] = None
        while len(_remembered) > MAX_REMEMBERED:
            del _remembered[next(iter(_remembered))]


def known_secrets() -> frozenset[str]:
    """Return every secret that is hidden: those that were read, and those of the environment."""
    with _lock:
        remembered = tuple(_remembered)
    return environment_secrets().union(remembered)


def environment_secrets() -> frozenset[str]:
    """Return the values of environment variables that are named like secrets, and the passwords in addresses."""
    return _secrets_among(tuple(os.environ.items()))


@lru_cache(maxsize=1)
def _secrets_among(variables: tuple[tuple[str, str], ...]) -> frozenset[str]:
    """Return the secrets among environment variables; asked for at each node, while they hardly ever change."""
    values = (value for name, value in variables if _NAMED_LIKE_A_SECRET.search(name))
    secrets = {value.strip() for value in values if len(value.strip()) >= MIN_LENGTH}
    return frozenset(secrets.union(*(secrets_in_address(value) for _, value in variables if "://" in value)))


def secrets_in_address(text: str) -> set[str]:
    """Return the passwords in an address: what stands before its `@`, and keys in its query."""
    secrets: set[str] = set()
    for user in _USER_IN_ADDRESS.findall(text):
        _, colon, password = user.partition(":")
        secret_part = password if colon else user
        secrets |= {secret_part, unquote(secret_part)}
    for _, value in _SECRET_IN_QUERY.findall(text):
        secrets |= {value, unquote(value)}
    return {secret for secret in secrets if len(secret) >= MIN_KEY}


def without_logins(text: str) -> str:
    """Return a text in which the logins and keys of addresses are hidden, whatever they are."""
    if "://" not in text:
        return text
    return _SECRET_IN_QUERY.sub(rf"\g<1>{HIDDEN}", _USER_IN_ADDRESS.sub(HIDDEN, text))


def is_named_like_a_secret(name: str) -> bool:
    """Tell whether a value of that name is likely to be a secret."""
    return _NAMED_LIKE_A_SECRET.search(name) is not None


def scrubbed(text: str) -> str:
    """Return a text without secrets.

    A secret is found as it is, escaped for JSON, HTML or an address, in Base64 at any alignment (so also as the
    password of Basic authentication), broken over lines, and cut. The cost is linear in the text, for each secret.
    """
    spans = sorted({span for secret in known_secrets() for span in _spans(text, secret)})
    if not spans:
        return text
    parts: list[str] = []
    position = 0
    for start, end in spans:
        if start >= position:
            parts += [text[position:start], HIDDEN]
        position = max(position, end)
    return "".join([*parts, text[position:]])


def holds_secret(text: str) -> bool:
    """Tell whether a text holds a secret in any form."""
    return any(True for secret in known_secrets() for _ in _spans(text, secret))


def scrubbed_bytes(content: bytes) -> bytes:
    """Return what a server sent without secrets: a text of up to `MAX_SEARCHED` bytes as `scrubbed` does.

    In a longer one, and in what is no text, a secret is hidden as it is and in no other form.
    """
    try:
        if len(content) <= MAX_SEARCHED:
            return scrubbed(content.decode()).encode()
    except UnicodeDecodeError:
        pass
    for secret in _long_secrets():
        content = content.replace(secret.encode(), HIDDEN.encode())
    return content


def file_holds_secret(content: bytes) -> bool:
    """Tell whether a file holds a secret: as it is, and in a file of up to `MAX_SEARCHED` bytes in any other form."""
    if any(secret.encode() in content for secret in _long_secrets()):
        return True
    return len(content) <= MAX_SEARCHED and holds_secret(content.decode("latin-1"))


def _long_secrets() -> list[str]:
    """Return the secrets that are long enough not to stand in a file by chance, the longest first."""
    return sorted((secret for secret in known_secrets() if len(secret) >= MIN_LENGTH), key=len, reverse=True)


def held_back(text: str) -> str:
    """Return the end of a text in which a secret may have begun, whose rest may come with the next piece."""
    most = ""
    for secret in known_secrets():
        for length in range(min(len(secret) - 1, len(text)), _EDGE - 1, -1):
            if text.endswith(secret[:length]):
                most = max(most, secret[:length], key=len)
                break
    return most


def _spans(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Yield where a secret stands in a text."""
    for piece in _pieces(secret):
        patterns = _patterns(piece)
        for match in patterns.plain.finditer(text):
            yield match.span("key")
        for match in patterns.ending.finditer(text) if patterns.ending else ():
            yield _extended(text, piece, match)
        for pattern in patterns.base64:
            for match in pattern.finditer(text):
                yield _with_edges(text, match)


def _extended(text: str, secret: str, match: re.Match[str]) -> tuple[int, int]:
    """Return the span of a secret's end, and of as much before it as is the secret's, too."""
    start, remaining = match.start(), len(secret) - _part(secret)
    while start and remaining and text[start - 1] == secret[remaining - 1]:
        start, remaining = start - 1, remaining - 1
    return start, match.end()


def _with_edges(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Return the span of a secret in Base64 with the characters beside it, which hold bits of its ends."""
    start, end = match.span()
    while start > max(0, match.start() - _EDGE) and text[start - 1] in _BASE64:
        start -= 1
    while end < min(len(text), match.end() + _EDGE) and text[end] in _BASE64:
        end += 1
    return start, end


def _pieces(secret: str) -> list[str]:
    """Return the pieces of a secret that are looked for one by one, without white space, which any text may lack."""
    tight = "".join(secret.split())
    return [tight[start : start + MAX_PIECE] for start in range(0, len(tight), MAX_PIECE)]


def _part(secret: str) -> int:
    """Return how many characters of a secret are hidden where the others are missing."""
    return min(max(_MIN_PART, len(secret) // 2), _MAX_PART)


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Patterns that find one secret; each begins with few different characters, so that a search is quick."""

    plain: re.Pattern[str]
    ending: re.Pattern[str] | None = None
    base64: tuple[re.Pattern[str], ...] = ()


@lru_cache(maxsize=2 * MAX_REMEMBERED)
def _patterns(secret: str) -> _Patterns:
    characters = [_character(character) for character in secret]
    all_characters = _GAP.join(characters)
    if len(secret) < MIN_KEY or (len(secret) < _MAX_WORD and secret.isalpha()):  # a placeholder, or a plain word
        return _Patterns(re.compile(rf"{_CALLED_A_KEY}(?P<key>{all_characters})(?!\w)"))
    packed = tuple(map(re.compile, _base64_forms(secret))) if len(secret) >= MIN_LENGTH else ()
    if len(secret) < MIN_CUT:
        return _Patterns(re.compile(f"(?P<key>{all_characters})"), None, packed)
    length = _part(secret)
    remainder = f"{_GAP}{_GAP.join(characters[length:])}"
    beginning = rf"(?P<key>{_GAP.join(characters[:length])}(?:{remainder}|[^\s\"'<>,;)\]}}]*))"
    return _Patterns(re.compile(beginning), re.compile(_GAP.join(characters[-length:])), packed)


def _character(character: str) -> str:
    """Return a pattern for a character as it is, or escaped for an address, for HTML, for JSON or by Python."""
    code = ord(character)
    url = "".join(f"%(?:25){{0,3}}(?i:{byte:02x})" for byte in character.encode(errors="replace"))
    forms = [
        re.escape(character),
        url,
        rf"&(?:amp;){{0,3}}#0{{0,6}}{code};",
        rf"&(?:amp;){{0,3}}#[xX]0{{0,6}}(?i:{code:x});",
        *(f"&(?:amp;){{0,3}}{name}" for name in _HTML_NAMES.get(character, ())),
        rf"\\\\{{0,7}}u(?i:{code:04x})",
        rf"\\\\{{0,7}}x(?i:{code:02x})",
    ]
    if not character.isalnum():
        forms.append(rf"\\\\{{0,7}}{re.escape(character)}")
    return f"(?:{'|'.join(forms)})"


_HTML_NAMES = {'"': ("quot;",), "'": ("apos;",), "&": ("amp;",), "<": ("lt;",), ">": ("gt;",), "/": ("sol;",)}


def _base64_forms(secret: str) -> Iterator[str]:
    """Yield patterns for the characters that a secret alone decides, wherever it begins among the encoded bytes."""
    for offset in range(3):
        raw = bytes(offset) + secret.encode(errors="replace")
        start, stop = -(-offset * 8 // 6), len(raw) * 8 // 6
        yield _GAP.join(map(_packed, base64.b64encode(raw).decode()[start:stop]))


def _packed(character: str) -> str:
    match character:
        case "+":
            return r"(?:[+-]|%2[Bb])"
        case "/":
            return r"(?:[/_]|\\/|%2[Ff])"
        case _:
            return character


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
