"""What a placement is to the engine: it carries packed work to where it is done, and the packed outcome back."""

from __future__ import annotations

from typing import Protocol

from vibe_prefect.core.models import NodeResources
from vibe_prefect.run.sending import Tell

IDLE_SECONDS = 30.0
"""Seconds in which a placement begins nothing of what was sent to it, and has nothing under way, until that is told."""


class Carrier(Protocol):
    """A placement that is open: it carries work, in the event loop of the run."""

    async def carry(self, payload: bytes, resources: NodeResources, tell: Tell) -> bytes:
        """Have `execute_payload` called with the payload, once, where the placement's work is done.

        Args:
            payload: The packed work.
            resources: What it needs of a machine.
            tell: Receives the messages about the work, in the thread of the event loop.

        Returns:
            The packed outcome.

        Raises:
            WorkerLostError: The worker ended in the middle of the work. It is not given to another one.
            PlacementError: The placement did not take the work.
            CancelledError: The call was cancelled; the work has been stopped.
        """
        ...

    async def count_workers(self) -> int:
        """Return how many workers there are, idle or not."""
        ...

    async def close(self) -> None:
        """End what the placement has started; work that is under way is stopped."""
        ...
