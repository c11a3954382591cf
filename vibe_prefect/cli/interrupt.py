"""Ctrl-C and its relatives: the first asks the run to stop, the second ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

GRACE = 10.0
"""Seconds that a run has for stopping: a tool that blocks its thread cannot be told to."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_OFFSET = 128
"""A process that a signal ended has this plus the signal's number as its exit code."""

LEAVE = 3.0
"""Seconds for the process to end after that: Prefect sends its last events, and a blocked thread is waited for."""


class InterruptedRunError(Exception):
    """The run was stopped by a signal."""

    def __init__(self, number: int) -> None:
        """Say which signal it was.

        Args:
            number: The signal.
        """
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = EXIT_OFFSET + number


@dataclass
class Interruptible:
    """Runs a coroutine that signals can stop."""

    stopping: Callable[[], object]
    """Called at the first signal."""

    give_up: Callable[[], object]
    """Called at the second, or when stopping takes too long, right before the process ends."""

    _task: asyncio.Task[Any] | None = None
    _received: int | None = None
    _returned: bool = False

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await the work.

        Raises:
            InterruptedRunError: A signal came while it ran.
        """
        loop = asyncio.get_running_loop()
        self._task = task = loop.create_task(work)
        self.listen()
        try:
            return await task
        except BaseException:
            if self._received is not None:
                raise InterruptedRunError(self._received) from None
            raise
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            if self._received is not None:
                self._returned = True
                _after(LEAVE, self._end, self._received)

    def listen(self) -> None:
        """Have signals stop the work.

        To be called again once a flow has begun: Prefect then raises an exception at SIGTERM, wherever the process is.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        if self._received is not None:
            self._end(number)
        self._received = number
        self.stopping()
        assert self._task is not None
        self._task.cancel()
        _after(GRACE, self._end, number)

    def _end(self, number: int) -> None:
        if not self._returned:
            self.give_up()
        os._exit(EXIT_OFFSET + number)


@contextmanager
def sure_interrupt() -> Generator[None]:
    """Let Ctrl-C end the block even where a library makes an error of it, or swallows it, as pydantic's core does.

    Raises:
        KeyboardInterrupt: It was pressed.
    """
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception:
        if not pressed:
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _after(seconds: float, action: Callable[[int], object], number: int) -> None:
    """Act in a while, unless the process has ended by then."""
    timer = threading.Timer(seconds, action, [number])
    timer.daemon = True
    timer.start()
