"""The command line, `vibe-prefect`."""

from __future__ import annotations

import gc
import sys

GC_THRESHOLD = 50_000
"""New objects before a collection. Imports make many that stay: with Python's 700, looking at them again and again is
a tenth of the time until a command begins.
"""


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(GC_THRESHOLD)
    from vibe_prefect.cli.exits import run_guarded

    raise SystemExit(run_guarded(_call))


def _call() -> int:
    from vibe_prefect.cli.app import call

    return call(sys.argv[1:])
