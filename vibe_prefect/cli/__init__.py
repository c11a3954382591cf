"""The command line, `vibe-prefect`."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress

__all__ = ["main"]

GC_THRESHOLD = 150_000
"""New objects before a collection. Imports make many that stay: with Python's 700, looking at them again and again is
a tenth of the time until a command begins.
"""


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(GC_THRESHOLD)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the last of the exit: nothing is left to stop
    atexit.register(gc.freeze)  # Python would look for garbage in all that Prefect imports: half a second at the end
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect, which a tool may import, shows a notice otherwise
    from vibe_prefect.cli.exits import run_guarded

    raise SystemExit(run_guarded(_call))


def _call() -> int:
    from vibe_prefect.cli.app import call

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return call(sys.argv[1:])


def _leave(_number: int, _frame: object) -> None:
    """End at once: a `KeyboardInterrupt` during imports would be lost in some library, or shown with a traceback."""
    with suppress(OSError):
        os.write(2, b"vibe-prefect: interrupted\n")
    os._exit(130)
