"""How many nodes run at once: in this run by a semaphore, across runs by Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from prefect.concurrency.asyncio import concurrency

DEFAULT_THREADS = 64
"""How many sync handlers run at once in a run without a limit of its own."""


class RunLimits:
    """The limits of one run."""

    def __init__(self, concurrency: int | None) -> None:
        """Make the limits of a run.

        Args:
            concurrency: How many nodes may run at once; `None` for no limit.
        """
        self._slots = asyncio.Semaphore(concurrency) if concurrency is not None else None
        self._threads = CapacityLimiter(concurrency or DEFAULT_THREADS)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Hold one of the run's slots."""
        if self._slots is None:
            yield
            return
        async with self._slots:
            yield

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread. When the caller is cancelled or timed out, the thread is left to end alone."""
        return await run_sync(function, *args, abandon_on_cancel=True, limiter=self._threads)


@asynccontextmanager
async def global_slots(names: tuple[str, ...]) -> AsyncGenerator[None]:
    """Hold a slot of each named Prefect global concurrency limit; a limit that does not exist is an error."""
    if not names:
        yield
        return
    async with concurrency(list(names), occupy=1, strict=True):
        yield
