"""The command line, `vibe-prefect`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from vibe_prefect.cli.exits import run_guarded

    raise SystemExit(run_guarded(sys.argv[1:]))
