"""Durations as people type them, such as `30d`, and as a list shows them."""

from __future__ import annotations

import re
from datetime import timedelta

from vibe_prefect.errors import UsageError, shorten

_FORM = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
MAX_DURATION = timedelta(days=36_500)


def parse_duration(text: str, option: str) -> timedelta:
    """Return what a duration means.

    Args:
        text: A whole number and a unit: `s`, `m` (minutes), `h`, `d` or `w`.
        option: Where it was given, for the message.

    Raises:
        UsageError: It is no duration, or longer than 100 years.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{option} {shorten(text)} is not a duration: write a whole number and a unit, "
            "such as 45m, 12h, 30d or 2w (s, m for minutes, h, d, w)"
        )
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_DURATION.total_seconds():
        raise UsageError(f"{option} {shorten(text)} is more than 100 years")
    return timedelta(seconds=seconds)


def short_age(seconds: float) -> str:
    """Return how long ago something was, in one unit."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"
