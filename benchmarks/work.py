"""The work of a node in a benchmark: it takes its seconds, and when it began and ended is noted."""

from __future__ import annotations

import asyncio
import time

_spans: list[tuple[float, float]] = []


async def work_for(seconds: float) -> None:
    """Work for so many seconds, in which others may go on."""
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    _spans.append((begun, time.perf_counter()))


def forget() -> None:
    """Forget all work so far."""
    _spans.clear()


def makespan() -> float:
    """Return the seconds from the begin of the first work to the end of the last; 0 where there was none."""
    return max(end for _, end in _spans) - min(begin for begin, _ in _spans) if _spans else 0.0
