"""Calls functions in helper processes that bound their time and memory, see `bounded_helper`.

For work whose cost nobody knows before it is done, such as a template of a plan, or a text that somebody else wrote.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, cast

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from vibe_prefect.errors import ToolError
from vibe_prefect.templates.bounded_helper import MORE, REFUSED, RESULT, read_message, write_message
from vibe_prefect.templates.texts import InvalidTemplateError

MAX_HELPERS = min(4, os.cpu_count() or 1)
"""Helper processes that work at the same time."""

MAX_WAIT = 60.0
"""Seconds after which a helper process that does not answer is given up: it may be stopped, or the machine too busy."""

_PASSED_ON = ("LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "SYSTEMROOT")
"""Environment variables that a helper needs to start; it gets no other, so that it has no secrets."""

# Without the packages' own `__init__`, which import what a helper does not need and take a second for it.
_START = """
import sys, types
sys.path[:] = {path!r}
for name, folder in (("vibe_prefect", {folder!r}), ("vibe_prefect.tools", {folder!r} + "/tools")):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [folder]
from vibe_prefect.templates.bounded_helper import serve
serve()
"""


class _Helper:
    """One helper process."""

    def __init__(self) -> None:
        start = _START.format(path=sys.path, folder=str(Path(__file__).parents[1]))
        environment = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and code of our own
                [sys.executable, "-P", "-X", "utf8", "-c", start],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is this process's business
            )
        except OSError as error:
            raise ToolError(f"cannot start a helper process: {error}") from error

    def ask(self, request: bytes) -> bytes | None:
        """Return the answer to a request; `None` where the process ended, or does not answer."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        try:
            write_message(cast("BinaryIO", self._process.stdin), request)
            return read_message(self._answers) if poll.poll(MAX_WAIT * 1000) else None
        except OSError:  # it ended before it had read everything
            return None

    def stop(self) -> None:
        """End the process; whoever waits for its answer gets none."""
        self._process.kill()

    def close(self) -> int:
        """End the process, wait for its end, and return its exit code."""
        self.stop()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                cast("BinaryIO", pipe).close()
        return self._process.wait()

    def abandon(self) -> None:
        """Let go of the process without ending it: after a fork it belongs to the parent."""
        self._process.returncode = 0
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                cast("BinaryIO", pipe).close()

    @property
    def _answers(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdout)


class _Pool:
    """The helper processes of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[_Helper] = []

    def take(self) -> _Helper:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Helper()

    def give_back(self, helper: _Helper) -> None:
        with self._lock:
            self._idle.append(helper)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def forget(self) -> None:
        self._lock = Lock()
        while self._idle:
            self._idle.pop().abandon()


_POOL = _Pool()
_SLOTS: RunVar[CapacityLimiter] = RunVar("bounded_helpers")
atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL.forget)


class ExceededError(Exception):
    """Work that was given up; the message says why, such as `took longer than 2 s`."""


class _Call:
    """One call of a function in a helper; another thread may stop it."""

    def __init__(self, name: str, arguments: Sequence[Any], seconds: float) -> None:
        self._work = (name, arguments, seconds)
        self._seconds = seconds
        self._lock = Lock()
        self._helper: _Helper | None = None
        self._stopped = False

    def run(self) -> Any:
        try:
            request = json.dumps(self._work).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ExceededError(f"reads what JSON cannot hold: {error}") from None
        answer = self._ask(request)
        kind, content = answer[:1], answer[2:]
        if kind == RESULT:
            return json.loads(content)
        raise (InvalidTemplateError if kind == REFUSED else ExceededError)(content.decode())

    def stop(self) -> None:
        """End the work; its thread then ends soon."""
        with self._lock:
            self._stopped = True
            if self._helper is not None:
                self._helper.stop()

    def _ask(self, request: bytes) -> bytes:
        code = 0
        for _ in range(2):  # an idle helper may have been ended by whoever cleans up processes
            helper = _POOL.take()
            with self._lock:
                self._helper = helper
            answer = None if self._stopped else helper.ask(request)
            with self._lock:
                self._helper = None
            if answer is not None and answer[1:2] == MORE:
                _POOL.give_back(helper)
                return answer
            code = helper.close()
            if answer is not None:
                return answer
            if code == -signal.SIGPROF:
                raise ExceededError(f"took longer than {self._seconds:g} s")
            if self._stopped:
                break
        raise ToolError(f"a helper process ended without an answer (exit code {code})")


async def call_bounded(function: Callable[..., Any], arguments: Sequence[Any], seconds: float) -> Any:
    """Call a function in a helper process, which ends when this is cancelled.

    Args:
        function: A function of a module of this package that imports little.
        arguments: JSON data.
        seconds: Computing time that it may take.

    Returns:
        The function's result: JSON data.

    Raises:
        ExceededError: It takes too long, needs more than `MEMORY`, or yields more than `MAX_RESULT`; or the arguments
            or the result are not JSON data.
        InvalidTemplateError: The function raised it.
        ToolError: No helper process works.
    """
    call = _Call(f"{function.__module__}:{function.__qualname__}", arguments, seconds)
    try:
        return await run_sync(call.run, abandon_on_cancel=True, limiter=_slots())
    except BaseException:
        call.stop()
        raise


def _slots() -> CapacityLimiter:
    try:
        return _SLOTS.get()
    except LookupError:
        limiter = CapacityLimiter(MAX_HELPERS)
        _SLOTS.set(limiter)
        return limiter
