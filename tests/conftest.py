from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOGGING_LEVEL,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from vibe_prefect.testing import running_server

SOON = {"PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "2"}
"""How long a run whose deployment is busy waits before it asks again: up to 30 s by default."""


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The API address of one real Prefect server for the whole session; this process talks to it too."""
    home = tmp_path_factory.mktemp("prefect")
    with running_server(home / "server", settings=SOON) as api:
        settings: dict[Any, Any] = {
            PREFECT_API_URL: api,
            PREFECT_HOME: home / "client",
            PREFECT_LOGGING_LEVEL: "CRITICAL",
            PREFECT_LOGGING_TO_API_ENABLED: False,
        }
        with temporary_settings(settings):
            yield api


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
