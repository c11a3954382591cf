"""Versions of Prefect."""

from __future__ import annotations

import prefect

TRIED = ("3.8", "3.9")
"""The versions of Prefect that the tests run with."""


def untried_version(version: str = prefect.__version__) -> str | None:
    """Return a warning where the tests have never run with this version of Prefect.

    Args:
        version: The version; by default that of the Prefect which is installed.
    """
    if ".".join(version.split(".")[:2]) in TRIED:
        return None
    return f"Prefect {version} is new to vibe-prefect, which was tried with {' and '.join(TRIED)}: some things may fail"
