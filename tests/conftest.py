from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings

pytest_plugins = ["vibe_prefect.testing.fixtures"]


@pytest.fixture(scope="session")
def prefect_server(plan_server: str) -> Generator[str]:
    """The API address of one real Prefect server for the whole session; this process talks to it too, quietly."""
    with temporary_settings({PREFECT_LOGGING_LEVEL: "CRITICAL"}):
        yield plan_server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
