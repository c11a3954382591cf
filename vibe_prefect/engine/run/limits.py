"""Limits of nodes at once: in this run by a semaphore, across runs by Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from prefect.concurrency.asyncio import concurrency


class RunLimits:
    """The limits of one run."""

    def __init__(self, concurrency: int | None, of_names: Mapping[str, int] | None = None) -> None:
        """Make the limits of a run.

        Args:
            concurrency: Largest number of nodes at once; `None` for no limit.
            of_names: Largest number of nodes at once by names, such as `tool:judge`.
        """
        self._slots = asyncio.Semaphore(concurrency) if concurrency is not None else None
        self._of_names = {name: asyncio.Semaphore(limit) for name, limit in sorted((of_names or {}).items())}

    @asynccontextmanager
    async def slot(self, names: Collection[str] = ()) -> AsyncGenerator[None]:
        """Hold one of the run's slots, and one of each name that has a limit.

        Those of the names are waited for first, each time in one order, so that what waits for a few holds back nothing
        else.
        """
        async with AsyncExitStack() as held:
            for name, slots in self._of_names.items():
                if name in names:
                    await held.enter_async_context(slots)
            if self._slots is not None:
                await held.enter_async_context(self._slots)
            yield


@asynccontextmanager
async def global_slots(names: tuple[str, ...]) -> AsyncGenerator[None]:
    """Hold a slot of each named Prefect global concurrency limit; a limit that does not exist is an error."""
    if not names:
        yield
        return
    async with concurrency(list(names), occupy=1, strict=True):
        yield
