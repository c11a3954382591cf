"""Limits of nodes at once: in this run by a semaphore, across runs by Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.concurrency.asyncio import concurrency


class RunLimits:
    """The limits of one run."""

    def __init__(self, concurrency: int | None) -> None:
        """Make the limits of a run.

        Args:
            concurrency: Largest number of nodes at once; `None` for no limit.
        """
        self._slots = asyncio.Semaphore(concurrency) if concurrency is not None else None

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Hold one of the run's slots."""
        if self._slots is None:
            yield
            return
        async with self._slots:
            yield


@asynccontextmanager
async def global_slots(names: tuple[str, ...]) -> AsyncGenerator[None]:
    """Hold a slot of each named Prefect global concurrency limit; a limit that does not exist is an error."""
    if not names:
        yield
        return
    async with concurrency(list(names), occupy=1, strict=True):
        yield
