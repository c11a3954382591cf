"""What the storms share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def found_here(lost_connections: None) -> None:
    """Each storm ends servers and workers that this process is connected to."""
