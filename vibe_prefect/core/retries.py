"""Notices of retries: which attempt at a node comes next, when, and why; as values and as text for people."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vibe_prefect.text.units import rough

_TEXT = re.compile(r"(\d+)[a-z]{2} try of (\d+)(?:, next in [^,]+)?(?:, last: (.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Retry:
    """Notice that an attempt at a node has failed and that another one follows."""

    attempt: int
    """Number of the attempt that follows, from 2."""

    most: int
    """Largest number of attempts at the node, the first included."""

    pause: float | None
    """Seconds until it begins, from now; `None` where that is not known."""

    error: str
    """Reason why the last attempt failed; empty where it is not known."""

    def text(self, left: float | None = None) -> str:
        """Return it for people, such as `2nd try of 4, next in 3 s, last: HTTP 500`.

        Args:
            left: Seconds until the attempt begins; nothing is said about it where there are none.
        """
        parts = [f"{ordinal(self.attempt)} try of {self.most}"]
        parts += [f"next in {rough(left)}"] if left is not None and left > 0 else []
        parts += [f"last: {self.error}"] if self.error else []
        return ", ".join(parts)

    @classmethod
    def from_text(cls, text: str) -> Retry | None:
        """Read back the number of the attempt and the error from a text; `None` where it is about something else."""
        found = _TEXT.search(text)
        return found and cls(int(found[1]), int(found[2]), None, found[3] or "")


def ordinal(number: int) -> str:
    """Return a number of a series, such as `2nd`."""
    endings = {1: "st", 2: "nd", 3: "rd"}  # codespell:ignore nd
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else endings.get(number % 10, 'th')}"
