"""The setting `server_minutes`, apart from the others: it is needed before Prefect is imported."""

from __future__ import annotations

DEFAULT_SERVER_MINUTES = 10.0
"""Minutes for which a server that a command has started goes on after its last use."""

MAX_SERVER_MINUTES = 100_000.0
"""The largest value: ten weeks."""
