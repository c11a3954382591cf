"""Names of the states in which Prefect shows nodes, besides its own."""

from __future__ import annotations

SKIPPED = "Skipped"
"""Name of the state in which Prefect shows a node that was skipped."""

CANCELLED = "Cancelled"
"""Name of the state in which it shows a node that was stopped, or that its run did not get to."""

FALLBACK = "Fallback"
"""Name of the state in which Prefect shows a node that failed and has a fallback."""


WAITS = "Waiting"
"""Name of the state of a node that waits for a person's answer, and of a run that has nothing else left to do."""
