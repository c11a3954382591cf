"""The Prefect server that a benchmark runs on."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOGGING_LEVEL,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from vibe_prefect.testing import running_server


@contextmanager
def standing_server() -> Generator[tuple[Path, str]]:
    """Run a server that this process talks to: environment variables would come too late for that.

    Yields:
        A folder for the benchmark's own files, and the address of the server's API.
    """
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / "server") as api:
        settings: dict[Any, Any] = {
            PREFECT_API_URL: api,
            PREFECT_HOME: Path(folder) / "client",
            PREFECT_LOGGING_LEVEL: "CRITICAL",
            PREFECT_LOGGING_TO_API_ENABLED: False,
        }
        with temporary_settings(settings):
            yield Path(folder), api
