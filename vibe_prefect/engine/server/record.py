"""Record of the Prefect server of a home: a file that the server locks as long as it lives, so that others find it.

The locks are the operating system's: they end with the process that holds them, however it ends, so a record of a
killed server, or of one before a restart of the machine, is known to be stale.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from vibe_prefect.core.file_locks import locked

RECORD = "vibe-prefect-server.json"
"""Name of the record in Prefect's home. Its server holds the exclusive lock of the file."""

CLIENTS = "vibe-prefect-server.clients"
"""Name of the file whose shared lock each command holds that uses the server."""

LOG = "vibe-prefect-server.log"
"""Name of the file for the server's output."""

MAX_BYTES = 10_000
"""Bytes that are read of a record."""


@dataclass(frozen=True)
class ServerRecord:
    """A Prefect server of this machine, as it was started."""

    url: str
    """Address of the server, without `/api`."""

    pid: int
    """Process id of the server."""

    prefect: str
    """Version of Prefect that it runs."""

    fingerprint: str
    """Hash of what it was started with: version, interpreter and settings. A command with another hash needs another
    server."""

    idle_seconds: float | None
    """Seconds after its last use at which it ends; `None` where it goes on until it is stopped."""

    started: float
    """Unix time of its start."""

    @property
    def api_url(self) -> str:
        """Address of its API."""
        return f"{self.url}/api"


def is_running(home: Path) -> bool:
    """Return whether the server that the home's record names lives. Nothing is created."""
    if not (home / RECORD).exists():
        return False
    with locked(home / RECORD, shared=True) as free:
        return not free


def is_used(home: Path) -> bool:
    """Return whether a command uses the home's server. Nothing is created."""
    if not (home / CLIENTS).exists():
        return False
    with locked(home / CLIENTS) as free:
        return not free


def write_record(number: int, record: ServerRecord) -> None:
    """Write a record into its open file."""
    clear_record(number)
    os.pwrite(number, json.dumps(asdict(record), indent=2).encode(), 0)


def clear_record(number: int) -> None:
    """Empty a record: its server does not run any more, or does not run yet."""
    os.ftruncate(number, 0)


def read_record(home: Path) -> ServerRecord | None:
    """Return the record of a home; `None` where there is none, or it is not complete."""
    try:
        with (home / RECORD).open("rb") as file:
            return ServerRecord(**json.loads(file.read(MAX_BYTES)))
    except (OSError, ValueError, TypeError):
        return None


def running_server_of(home: Path) -> ServerRecord | None:
    """Return the server of a home that lives; `None` where there is none."""
    return read_record(home) if is_running(home) else None
