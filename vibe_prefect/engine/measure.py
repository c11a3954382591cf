"""What a node's attempt used: time, CPU and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from vibe_prefect.feedback import ResourceUsage
from vibe_prefect.results import now_iso

_PROCESS = psutil.Process()


@dataclass
class Meter:
    """Adds up what the attempts of one node use."""

    started_at: str | None = None
    """When the first attempt began, ISO 8601."""

    attempts: int = 0
    """How many attempts began."""

    duration: float = 0.0
    """Seconds of all attempts."""

    cpu_time: float = 0.0
    """CPU seconds of all attempts."""

    thread: bool = False
    """Whether the CPU seconds are one thread's, told apart from what ran beside the node."""

    memory_usage: int = 0
    """Resident memory of the process at the end of the last attempt, in bytes."""

    _begun: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> Meter:
        self.attempts += 1
        self.started_at = self.started_at or now_iso()
        self._begun = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._begun
        self.duration += time.perf_counter() - wall
        if not self.thread:
            self.cpu_time += time.process_time() - cpu
        self.memory_usage = _PROCESS.memory_info().rss

    def in_thread(self, function: Any, *args: Any) -> Any:
        """Call a function in the current thread and count that thread's CPU seconds alone."""
        self.thread = True
        begun = time.thread_time()
        try:
            return function(*args)
        finally:
            self.cpu_time += time.thread_time() - begun

    @property
    def usage(self) -> ResourceUsage:
        """What was used, for the feedback."""
        return ResourceUsage(self.cpu_time, self.memory_usage, "thread" if self.thread else "process")
