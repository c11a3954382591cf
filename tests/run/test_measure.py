from __future__ import annotations

import mmap
import resource

import psutil
import pytest

from vibe_prefect.core.feedback import Failure
from vibe_prefect.run.measure import Meter

MEGABYTE = 1024 * 1024


def peak_so_far() -> int:
    """The most memory that this process ever had, in bytes; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_memory_that_an_attempt_gave_back_before_its_end_is_seen() -> None:
    before = psutil.Process().memory_info().rss
    size = peak_so_far() - before + 64 * MEGABYTE
    meter = Meter()
    with meter:
        taken = mmap.mmap(-1, size)
        for page in range(0, size, mmap.PAGESIZE):
            taken[page] = 1
        taken.close()
    assert meter.memory_usage >= before + size - 8 * MEGABYTE
    assert psutil.Process().memory_info().rss < before + size / 2


def fail_busily() -> None:
    raise ValueError(f"no {sum(range(100_000))}")


def test_attempts_add_up() -> None:
    meter = Meter()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"), meter:
            fail_busily()
    assert meter.attempts == 2
    assert meter.duration > 0
    assert meter.cpu_time > 0
    assert meter.usage.scope == "process"


def test_attempts_keep_their_errors_times_and_waits() -> None:
    meter = Meter()
    with pytest.raises(ValueError, match="no"), meter:
        fail_busily()
    meter.note_failure(Failure("ValueError", "x" * 3_000))
    meter.note_failure(Failure("RuntimeError", "noted already"))
    with meter:
        assert meter.attempts == 2
    first, second = meter.tries
    assert (first.error_type, second.error_type, second.error, second.wait) == ("ValueError", None, None, None)
    assert first.error is not None
    assert first.error.endswith("... (3,000 characters)")
    assert first.wait is not None
    assert first.wait >= 0
    assert first.started_at <= second.started_at
    assert meter.started_at == first.started_at
    assert meter.duration == first.duration + second.duration


def test_a_threads_work_is_told_apart() -> None:
    meter = Meter()
    with meter:
        assert meter.in_thread(sum, range(100_000)) == 4_999_950_000
    assert meter.usage.scope == "thread"
    assert 0 < meter.cpu_time <= meter.duration


def test_an_attempt_that_was_lost_elsewhere_has_its_time_and_reason() -> None:
    meter = Meter()
    meter.note_lost("2026-01-01T00:00:00+00:00", 2.5, Failure("RuntimeError", "the worker ended"))
    meter.note_lost("2026-01-01T00:00:03+00:00", 0.0, Failure("RuntimeError", "again"))
    first, second = meter.tries
    assert (first.duration, first.error, second.error) == (2.5, "the worker ended", "again")
    assert first.wait is not None
    assert first.wait >= 0.0
    assert (second.wait, meter.duration, meter.attempts) == (None, 2.5, 2)
