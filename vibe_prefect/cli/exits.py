"""Ends of the command line: its exit codes, and a clear line for each error."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from enum import IntEnum

from vibe_prefect.characters import visible
from vibe_prefect.cli.display.console import err, flush, prepare_streams
from vibe_prefect.cli.display.lines import brief, wrapped
from vibe_prefect.errors import PlanError, UsageError

PROGRAM = "vibe-prefect"
DEBUG_VARIABLE = "VIBE_PREFECT_DEBUG"


EXIT_SECONDS = 10.0
"""Seconds for the process to end after its command has: Prefect sends its last events and log lines meanwhile."""


class ExitCode(IntEnum):
    """Exit codes of the commands."""

    COMPLETED = 0
    FAILED = 1
    """At least one node failed."""

    USAGE = 2
    """A bad plan, or a bad command."""

    INTERNAL = 3
    """Something went wrong that is not the plan's fault, such as a server that does not start."""

    WAITING = 4
    """No node failed, and at least one waits for a person's answer."""

    INTERRUPTED = 130
    """Ctrl-C."""


class StartError(Exception):
    """Something that a run needs is not there: a server that can be reached, a folder that can be written."""


def debugging() -> bool:
    """Return whether tracebacks and all of Prefect's messages are wanted."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def run_guarded(call: Callable[[], int]) -> int:
    """Run a command; turn each exception into a message and an exit code.

    Args:
        call: Runs it, and returns its exit code.
    """
    prepare_streams()
    try:
        code = _run(call)
        _end_process_soon(code)
        return code
    finally:
        flush()
        # From here on Prefect sends its last events; Ctrl-C during that wait prints no traceback either.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _leave)


def _end_process_soon(code: int) -> None:
    """End the process after a while with an exit code, also where a server or a thread would keep it."""

    def end() -> None:
        time.sleep(EXIT_SECONDS)
        os._exit(code)

    threading.Thread(target=end, name="end", daemon=True).start()


def _leave(_number: int, _frame: object) -> None:
    os._exit(ExitCode.INTERRUPTED)


def _run(call: Callable[[], int]) -> int:
    try:
        return call()
    except BrokenPipeError:
        return ExitCode.COMPLETED
    except KeyboardInterrupt:
        tell("interrupted")
        return ExitCode.INTERRUPTED
    except UsageError as error:
        complain_of_usage(error)
        return ExitCode.USAGE
    except StartError as error:
        complain(str(error))
        return ExitCode.INTERNAL
    except Exception as error:  # noqa: BLE001 - the last line of defence
        if problems := _settings_of_prefect(error):
            complain(problems)
            return ExitCode.USAGE
        complain_of_bug(error)
        return ExitCode.INTERNAL


def _settings_of_prefect(error: Exception) -> str | None:
    """Describe the faults in settings of Prefect itself, without their values; `None` for any other error."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or not error.title.endswith("Settings"):
        return None
    details = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"  {'.'.join(map(str, detail['loc']))}: {brief(detail['msg'])}" for detail in details[:20]]
    return "\n".join([f"Prefect's own settings cannot be used ({error.title}):", *lines])


def tell(message: str) -> None:
    """Print a message on standard error."""
    _say(message)


def complain(message: str) -> None:
    """Print an error on standard error, its lines kept."""
    _say(message, "error: ", "bold red")
    if debugging() and sys.exc_info()[0] is not None:
        traceback.print_exc()


def warn(message: str) -> None:
    """Print a warning on standard error."""
    _say(message, "warning: ", "bold yellow")


def _say(message: str, word: str = "", style: str = "") -> None:
    from rich.text import Text

    screen = err()
    for line in Text.assemble(f"{PROGRAM}: ", (word, style), visible(message)).split("\n", allow_blank=True):
        for part in wrapped(line, screen.limit):
            screen.say(part)


def complain_of_usage(error: UsageError) -> None:
    """Print an error of usage; for a plan's problems with the lines of its file."""
    if not isinstance(error, PlanError):
        complain(str(error))
        return
    from vibe_prefect.cli.display.frames import framed

    complain(framed(error, err().limit))


def complain_of_bug(error: BaseException) -> None:
    """Print an unexpected error on one line, and the way to learn more."""
    text = brief(str(error)) or "no message"
    hint = "" if debugging() else f" ({DEBUG_VARIABLE}=1 shows where)"
    complain(f"unexpected {type(error).__name__}: {text}{hint}")
