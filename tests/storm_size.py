"""How long the storms blow: whole, or the part of them that there is time for."""

from __future__ import annotations

import os

SHARE = "STORM_SHARE"
"""Variable with a part of 1; CI tries three tenths of each storm, which leaves it within an hour."""


def storm_size(whole: int) -> int:
    """Number of a storm's tries.

    Args:
        whole: Number of them where nothing else is said.
    """
    return max(1, round(whole * float(os.environ.get(SHARE) or 1)))
