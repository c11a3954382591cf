"""Arguments of the program of a server's process; apart from it, since it imports Prefect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """Arguments of the program, given as JSON: what its process inherits."""

    socket: int
    """Number of the socket that it listens at."""

    record: int | None = None
    """Number of the open and locked record; `None` for a server that ends with its owner."""

    idle_seconds: float | None = None
    """Seconds without use after which it ends; `None` for no end."""
