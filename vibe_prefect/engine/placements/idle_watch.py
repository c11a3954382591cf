"""Tells when nothing takes the work that a run has sent to a placement: it would wait in silence, however long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from prefect.logging import get_run_logger

from vibe_prefect.engine.placements.placement import IDLE_SECONDS, Carrier
from vibe_prefect.text.units import listed

AGAIN_SECONDS = 600.0
"""Seconds until it is told again."""

MAX_NAMED = 5
"""Number of nodes that are named."""

ANSWER_SECONDS = 5.0
"""Seconds in which a placement has to say how many workers it has."""

Show = Callable[[float | None, str], None]
"""Shows a few words about a node, such as `NodeServices.report_progress`."""


class IdleWatch:
    """The works of one placement that wait for a worker, and those under way."""

    def __init__(self, placement: str, carrier: Carrier) -> None:
        """Watch a placement that has no work yet.

        Args:
            placement: Its name.
            carrier: The placement itself.
        """
        self._placement = placement
        self._carrier = carrier
        self._waiting: dict[str, Show | None] = {}
        self._under_way: set[str] = set()
        self._told: set[str] = set()
        self._sign = asyncio.Event()

    @contextmanager
    def sent(self, node_id: str, show: Show | None) -> Generator[None]:
        """Watch over a work that is sent within the block.

        Args:
            node_id: The node that it is for.
            show: Shows on the node that it waits; `None` where nobody looks.
        """
        self._waiting[node_id] = show
        try:
            yield
        finally:
            self.begun(node_id)
            self._under_way.discard(node_id)

    def begun(self, node_id: str) -> None:
        """Note that a work is under way; a message that comes after its end says nothing."""
        if node_id not in self._waiting:
            return
        show = self._waiting.pop(node_id)
        if node_id in self._told and show is not None:
            show(None, "")  # what it waited for is past
        self._told.discard(node_id)
        self._under_way.add(node_id)
        self._sign.set()

    async def watch(self) -> None:
        """Tell each time that nothing is taken for so long."""
        patience = IDLE_SECONDS
        while True:
            self._sign.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._sign.wait()
            patience = IDLE_SECONDS
            if not self._sign.is_set() and self._is_idle():
                await self._tell()
                patience = AGAIN_SECONDS

    def _is_idle(self) -> bool:
        return bool(self._waiting) and not self._under_way

    async def _tell(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                workers = await self._carrier.count_workers()
            has = "has no worker" if workers == 0 else "has 1 worker" if workers == 1 else f"has {workers} workers"
        except Exception as error:  # noqa: BLE001 - each library has its own
            has = f"does not answer ({str(error) or type(error).__name__})"
        if not self._is_idle():  # as it was until the answer came
            return
        get_run_logger().warning(
            "Nothing has begun the work for the placement %r for %g s, and it %s. These nodes wait until a worker "
            "takes them, or the run is cancelled: %s",
            self._placement,
            IDLE_SECONDS,
            has,
            listed([repr(node_id) for node_id in self._waiting], MAX_NAMED),
        )
        for node_id, show in self._waiting.items():
            self._told.add(node_id)
            if show is not None:
                show(None, f"waits for a worker of the placement {self._placement!r}")
