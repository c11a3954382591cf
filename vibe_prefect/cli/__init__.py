"""The command line, `vibe-prefect`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code."""
    from vibe_prefect.cli.exits import run_guarded

    raise SystemExit(run_guarded(_call))


def _call() -> int:
    from vibe_prefect.cli.app import call

    return call(sys.argv[1:])
