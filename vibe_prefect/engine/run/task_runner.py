"""The task runner of plan runs: Prefect tasks that a tool submits never keep the run from ending."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, Self, TypeVar

from prefect.task_runners import ThreadPoolTaskRunner

from vibe_prefect.core.user_code import DaemonExecutor

P = ParamSpec("P")
T = TypeVar("T")

SUBMITTED_SECONDS = 5.0
"""Seconds that the end of a run waits for tasks that tools have submitted and did not wait for themselves."""


class _BoundedExecutor(DaemonExecutor):
    """A daemon executor whose shutdown waits a bounded time."""

    def __init__(self) -> None:
        super().__init__()
        self._unfinished: set[Future[Any]] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a daemon thread of its own."""
        future = super().submit(fn, *args, **kwargs)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for calls still at work, but no longer than `SUBMITTED_SECONDS`."""
        concurrent.futures.wait(set(self._unfinished), SUBMITTED_SECONDS)


class BoundedTaskRunner(ThreadPoolTaskRunner[Any]):
    """Runs submitted tasks in daemon threads, and abandons at the run's end those that do not return.

    Prefect's own waits for them in the event loop, where neither a timeout nor a signal could end it.
    """

    def __enter__(self) -> Self:
        """Start the runner."""
        super().__enter__()
        self._executor: ThreadPoolExecutor | None = _BoundedExecutor()
        return self
