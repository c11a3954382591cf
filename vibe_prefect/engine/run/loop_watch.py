"""Warns when a node blocks the event loop: until it returns, no other node runs and no timeout ends it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Container, Generator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

BLOCKED_SECONDS = 5.0
"""Seconds without a turn of the event loop after which it counts as blocked."""

BEAT_SECONDS = 1.0
"""Seconds between two signs of life of the event loop."""


@contextmanager
def watched_loop(nodes: Container[str]) -> Generator[None]:
    """Log a warning each time that the current event loop is blocked during the block.

    Args:
        nodes: Ids of the nodes; a node's task has its id as name, so that the warning can name the node.
    """
    watch = _LoopWatch(asyncio.get_running_loop(), nodes)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class _LoopWatch:
    def __init__(self, loop: asyncio.AbstractEventLoop, nodes: Container[str]) -> None:
        self._loop = loop
        self._nodes = nodes
        self._stopped = threading.Event()
        self._beats = 0
        self._next_beat: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._beat()
        threading.Thread(target=self._watch, name="loop watch", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if self._next_beat is not None:
            self._next_beat.cancel()

    def _beat(self) -> None:
        self._beats += 1
        self._next_beat = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        """Count checks without a beat, not time: while the whole process stands still, the loop is not blocked."""
        last_beats, checks = self._beats, 0
        while not self._stopped.wait(BEAT_SECONDS):
            last_beats, checks = self._beats, checks + 1 if self._beats == last_beats else 0
            if checks == round(BLOCKED_SECONDS / BEAT_SECONDS):
                self._warn()

    def _warn(self) -> None:
        task = asyncio.current_task(self._loop)
        name = task.get_name() if task is not None else ""
        subject = f"The node {name!r}" if name in self._nodes else "Something"
        logger.warning(
            "%s has blocked the event loop for %g s: until it returns, no other node runs and no timeout ends it. "
            "Blocking work belongs into a sync tool or handler, which runs in a thread of its own",
            subject,
            BLOCKED_SECONDS,
        )
