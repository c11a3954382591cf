"""The Prefect server that a benchmark runs on."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from vibe_prefect.testing.server import used_server


@contextmanager
def standing_server() -> Generator[tuple[Path, str]]:
    """Run a server that this process talks to.

    Yields:
        A folder for the benchmark's own files, and the address of the server's API.
    """
    with tempfile.TemporaryDirectory() as folder, used_server(Path(folder)) as api:
        yield Path(folder), api
