"""What tests of clusters need: their libraries, and clusters of this machine."""

from __future__ import annotations

from importlib.util import find_spec

from tests.programs import report_missing


def needs(kind: str) -> None:
    """Skip the test where the library of a kind of placements is not installed."""
    if kind != "process" and find_spec(f"prefect_{kind}") is None:
        report_missing(f"prefect-{kind}", f"pip install 'vibe-prefect[{kind}]'")
