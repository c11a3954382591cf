"""Durations as people type them, such as `30d`, and as a list shows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from cyclopts import CoercionError, convert

from vibe_prefect.errors import UsageError, shorten

MAX_DURATION = timedelta(days=36_500)


def parse_duration(text: str, option: str) -> timedelta:
    """Parse a duration.

    Args:
        text: Numbers with units: `s`, `m` (minutes), `h`, `d`, `w`, `M` (30 days) or `y` (365 days), such as `1d12h`.
        option: The option it was given for, for the message.

    Raises:
        UsageError: It is not a duration, is negative, or longer than 100 years.
    """
    try:
        duration: timedelta = cast("Any", convert)(timedelta, [text])
    except OverflowError:
        duration = timedelta.max
    except (CoercionError, ValueError):
        duration = timedelta.min
    if duration < timedelta(0):
        raise UsageError(
            f"{option} {shorten(text)} is not a duration: write a whole number and a unit, "
            "such as 45m, 12h, 30d or 2w (s, m for minutes, h, d, w)"
        )
    if duration > MAX_DURATION:
        raise UsageError(f"{option} {shorten(text)} is more than 100 years")
    return duration


def short_age(seconds: float) -> str:
    """Return an age in words, in a single unit."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"
