"""Keeping keys out of what is shown: a provider's message may repeat the key that it was sent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "***"
MIN_LENGTH = 8
"""Characters from which a variable's value counts as a secret: shorter ones occur by chance."""

_NAMED_LIKE_A_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)


def scrubbed(text: str, keys: Iterable[str | None] = ()) -> str:
    """Return a text without keys: the given ones, and what the environment has in variables named like secrets."""
    found = {key for key in keys if key} | environment_secrets()
    forms = {form for key in found for form in (key, quote(key, safe=""))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def environment_secrets() -> set[str]:
    """Return the values of environment variables whose names end like those of secrets."""
    return {
        value for name, value in os.environ.items() if len(value) >= MIN_LENGTH and _NAMED_LIKE_A_SECRET.search(name)
    }
