"""Numbers for people, each with its unit."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, word: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as `1 node` or `1,200 nodes`."""
    return f"{count:,} {word if count == 1 else plural or f'{word}s'}"


def listed(words: Sequence[str], most: int) -> str:
    """Return words with commas between them, such as `a, b and 3 more`.

    Args:
        words: The words.
        most: Number of them that are named; of the others their number is.
    """
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more:,} more" if more > 0 else "")


def seconds(value: float) -> str:
    """Return a duration, as short as it stays exact enough."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, remainder = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {remainder:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def rough(value: float) -> str:
    """Return a duration that is only a guess, in whole seconds."""
    whole_seconds = max(1, round(value))
    return f"{whole_seconds} s" if whole_seconds < 60 else seconds(whole_seconds)


def clock(value: float) -> str:
    """Return a duration that goes on, in whole seconds that have passed."""
    return f"{int(value)} s" if value < 60 else seconds(int(value))


def size(count: int) -> str:
    """Return a number of bytes, in thousands."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
