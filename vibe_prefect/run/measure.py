"""Record of a node's attempts: time, CPU, memory, and the calls that they made."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psutil

from vibe_prefect.core.feedback import Failure, ResourceUsage, usage_in
from vibe_prefect.errors import ToolError
from vibe_prefect.provenance import Attempt, NodeProvenance, ToolCall
from vibe_prefect.results import now_iso
from vibe_prefect.run.call_notes import CallNotes
from vibe_prefect.text.sendable import MAX_STATE, sendable

MAX_TOOL_CALLS = 5
"""Tool calls of one attempt that are kept."""

SAMPLE_SECONDS = 0.02
"""Seconds for which a sample of the memory counts: to read it takes longer than a node without work."""

_PROCESS = psutil.Process()


@dataclass
class Meter:
    """Records the attempts at one node, and adds up the resources that they use."""

    tries: list[Attempt] = field(default_factory=list[Attempt])
    """Attempts that began, first to last."""

    cpu_time: float = 0.0
    """CPU seconds of all attempts."""

    thread: bool = False
    """Whether the CPU seconds are those of the node's thread alone, without others of the process."""

    memory_usage: int = 0
    """Peak resident memory of the process during the attempts, in bytes.

    It is sampled at the start and end of each attempt; a peak between them counts if it is the process's highest yet.
    """

    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    """Tool calls of the last attempt, as far as they are kept."""

    tool_calls_left_out: int = 0
    """Number of its further tool calls."""

    calls: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    """Usage of each call to a model, in the form of a tool result's `metadata["usage"]`."""

    _begun: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    _ended: float = field(default=0.0, repr=False)
    _peak_before: int = field(default=0, repr=False)
    _calls_before: int = field(default=0, repr=False)

    def __enter__(self) -> Meter:
        if self.tries:
            self.tries[-1] = replace(self.tries[-1], wait=time.perf_counter() - self._ended)
        self.tries.append(Attempt(now_iso()))
        self.tool_calls, self.tool_calls_left_out = [], 0
        self._calls_before = len(self.calls)
        self._note_memory(_resident())
        self._peak_before = _peak()
        self._begun = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        wall, cpu = self._begun
        self._ended = time.perf_counter()
        self.tries[-1] = replace(self.tries[-1], duration=self._ended - wall)
        if not self.thread:
            self.cpu_time += time.process_time() - cpu
        self._note_memory(_resident())
        peak = _peak()
        if peak > self._peak_before:
            self._note_memory(peak)
        if isinstance(error, ToolError):
            self.charge(error.usage)

    def add(self, other: Meter) -> None:
        """Add the attempts that another process has measured, as the last ones of this node."""
        for attempt in other.tries:
            self._append(attempt)
        self.cpu_time += other.cpu_time
        self.thread = other.thread
        self._note_memory(other.memory_usage)
        self.tool_calls, self.tool_calls_left_out = other.tool_calls, other.tool_calls_left_out
        self._calls_before = len(self.calls)
        self.calls += other.calls

    def note_lost(self, started_at: str, duration: float, failure: Failure) -> None:
        """Add an attempt that another process made and has not measured, as the last one of this node."""
        self._append(Attempt(started_at, duration))
        self.note_failure(failure)

    def _append(self, attempt: Attempt) -> None:
        """Add an attempt that has ended just now."""
        now = time.perf_counter()
        if self.tries:
            self.tries[-1] = replace(self.tries[-1], wait=max(0.0, now - self._ended - attempt.duration))
        self.tries.append(attempt)
        self._ended = now

    def note_place(self, place: str) -> None:
        """Note where the last attempt was made."""
        self.tries[-1] = replace(self.tries[-1], place=place)

    def note_call(self, notes: CallNotes) -> None:
        """Keep a tool call that has ended, up to `MAX_TOOL_CALLS` in an attempt."""
        if len(self.tool_calls) < MAX_TOOL_CALLS:
            self.tool_calls.append(notes.tool_call())
        else:
            self.tool_calls_left_out += 1

    @property
    def provenance(self) -> NodeProvenance:
        """Attempts and calls so far; the run is not known here."""
        return NodeProvenance(None, tuple(self.tries), tuple(self.tool_calls), self.tool_calls_left_out)

    def note_failure(self, failure: Failure) -> None:
        """Note why the last attempt failed, unless that is noted already."""
        if self.tries and self.tries[-1].error is None:
            message = sendable(failure.message, MAX_STATE)
            self.tries[-1] = replace(self.tries[-1], error_type=failure.error_type, error=message)

    def charge(self, usage: object) -> None:
        """Count the usage of a model call once; a tool's failure arrives here at its call and at the attempt's end."""
        if isinstance(usage, Mapping) and all(usage is not call for call in self.calls):
            self.calls.append(cast("Mapping[str, Any]", usage))

    def charge_result(self, result: Any) -> None:
        """Count the usage of models in a node's result, unless the attempt's own calls have counted it."""
        if len(self.calls) == self._calls_before:
            self.charge(usage_in(result))

    def _note_memory(self, resident: int) -> None:
        self.memory_usage = max(self.memory_usage, resident)

    def in_thread(self, function: Any, *args: Any) -> Any:
        """Call a function in the current thread and count that thread's CPU seconds alone."""
        self.thread = True
        begun = time.thread_time()
        try:
            return function(*args)
        finally:
            self.cpu_time += time.thread_time() - begun

    @property
    def attempts(self) -> int:
        """Number of attempts that began."""
        return len(self.tries)

    @property
    def started_at(self) -> str | None:
        """Start of the first attempt, ISO 8601; `None` before it."""
        return self.tries[0].started_at if self.tries else None

    @property
    def duration(self) -> float:
        """Seconds of all attempts that ended, without the waits between them."""
        return sum(attempt.duration for attempt in self.tries)

    @property
    def usage(self) -> ResourceUsage:
        """Usage for the feedback."""
        scope = "thread" if self.thread else "process"
        return ResourceUsage(self.cpu_time, self.memory_usage, scope, self.attempts).with_calls(self.calls)


_sample: tuple[float, int] = (-SAMPLE_SECONDS, 0)
"""When the memory was read last, and the bytes."""


def _resident() -> int:
    """Return the resident memory of the process, in bytes, as of at most `SAMPLE_SECONDS` ago."""
    global _sample  # noqa: PLW0603 - all attempts of the process share it
    now = time.perf_counter()
    if now - _sample[0] >= SAMPLE_SECONDS:
        _sample = now, _PROCESS.memory_info().rss
    return _sample[1]


def _peak() -> int:
    """Return the peak resident memory of the process since its start, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
