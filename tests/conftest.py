from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings

from vibe_prefect.tools import waits

pytest_plugins = ["vibe_prefect.testing.fixtures"]

# No server stays in the background after the tests; those about that server name another value.
os.environ.setdefault("PREFECT_INTEGRATIONS_VIBE_PREFECT_SERVER_MINUTES", "0")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and every process that a test starts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def plan_server_settings() -> Mapping[str, str]:
    """How long a run whose deployment is busy waits before it asks again: up to 30 s by default."""
    return {"PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "2"}


@pytest.fixture(scope="session")
def prefect_server(plan_server: str) -> Generator[str]:
    """The API address of one real Prefect server for the whole session; this process talks to it too, quietly."""
    with temporary_settings({PREFECT_LOGGING_LEVEL: "CRITICAL"}):
        yield plan_server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that an endpoint asks to wait gives up at once."""
    monkeypatch.setattr(waits, "MAX_WAITING", 0.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lost_connections() -> Generator[None]:
    """Let connections that a library left open to a lost worker or server be found here, and not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
