"""Ctrl-C and its relatives: the first asks a command to stop, the second ends the process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

GRACE = 10.0
"""Seconds that a run has for stopping: a tool that blocks its thread cannot be stopped."""

EXIT_OFFSET = 128
"""Offset of exit codes: a process that a signal ended has this plus the signal's number as its exit code."""

LEAVE = 3.0
"""Seconds for the process to end after that: Prefect sends its last events, and a blocked thread is waited for."""

LAST_WORDS = 1.0
"""Seconds for the callback right before the process ends: the reader of its output may have stopped reading."""


def _heeded() -> tuple[signal.Signals, ...]:
    """Return the signals that end a command, without those that the process was started to ignore, as by `nohup`."""
    ignorable = (signal.SIGINT, signal.SIGHUP)
    heeded = [number for number in ignorable if signal.getsignal(number) is not signal.SIG_IGN]
    return (*heeded, signal.SIGTERM)


SIGNALS = _heeded()
"""The signals that end a command, read at import, which is before Prefect sets handlers of its own."""


class InterruptedRunError(Exception):
    """The run was stopped by a signal."""

    def __init__(self, number: int) -> None:
        """Name the signal that stopped the run.

        Args:
            number: The signal.
        """
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = EXIT_OFFSET + number


class Ending:
    """Ends the process at a time, from threads of its own: neither the loop nor the main thread can prevent it.

    Its threads are started beforehand and woken through pipes: the code that a signal interrupts may hold any lock.
    """

    def __init__(self, last_words: Callable[[], object]) -> None:
        """Start the thread.

        Args:
            last_words: Called right before the process ends; it has `LAST_WORDS` seconds.
        """
        self._last_words: Callable[[], object] | None = last_words
        self._reader, self._writer = os.pipe()
        self._end: tuple[float, int] | None = None
        self._bounded, self._bound = os.pipe()
        self._exit_code = 0
        threading.Thread(target=self._watch, name="ending", daemon=True).start()
        threading.Thread(target=self._bound_last_words, name="ended", daemon=True).start()

    def within(self, seconds: float, exit_code: int) -> None:
        """End the process in a while, unless it has ended by then or `cancel` is called."""
        self._end = (time.monotonic() + seconds, exit_code)
        os.write(self._writer, b".")

    def cancel(self) -> None:
        """Let the process live on."""
        self._end = None
        os.write(self._writer, b".")

    def be_silent(self) -> None:
        """Leave out the last words from now on."""
        self._last_words = None

    def _watch(self) -> None:
        while True:
            end = self._end
            remaining_seconds = None if end is None else max(0.0, end[0] - time.monotonic())
            if select.select([self._reader], [], [], remaining_seconds)[0]:
                os.read(self._reader, 1)
            elif end is not None and end is self._end:
                self._leave(end[1])

    def _leave(self, exit_code: int) -> None:
        self._exit_code = exit_code
        os.write(self._bound, b".")
        try:
            if self._last_words is not None:
                self._last_words()
        finally:
            os._exit(exit_code)

    def _bound_last_words(self) -> None:
        os.read(self._bounded, 1)
        time.sleep(LAST_WORDS)
        os._exit(self._exit_code)


@dataclass
class SignalWatch:
    """Reacts to the signals that end a command, at the first by asking it to stop, at the second by ending it."""

    stop: Callable[[], object]
    """Asks the command to stop. Called in the main thread, between any two instructions of its work."""

    ending: Ending
    """Ends the process."""

    grace: float | None = GRACE
    """Seconds that stopping may take; `None` for no limit."""

    received: int | None = field(default=None, init=False)
    """The first signal that came."""

    def listen(self) -> None:
        """React to signals.

        To be called again when a library has set handlers of its own, as Prefect does for SIGTERM when a flow begins.
        """
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def release(self) -> None:
        """Give the signals their usual effect again."""
        for number in SIGNALS:
            default_handler = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default_handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        code = EXIT_OFFSET + number
        if self.received is not None:
            self.ending.within(0, code)
            return
        self.received = number
        if self.grace is not None:
            self.ending.within(self.grace, code)
        self.stop()


class Interruptible:
    """Runs a coroutine that signals, or this process itself, can stop."""

    def __init__(self, stopping: Callable[[signal.Signals], object], give_up: Callable[[], object]) -> None:
        """Remember the callbacks; nothing runs yet.

        Args:
            stopping: Called with the first signal.
            give_up: Called at the second, or when stopping takes too long, right before the process ends.
        """
        self._stopping = stopping
        self._give_up = give_up
        self._watch: SignalWatch | None = None
        self._cancel: Callable[[], object] = lambda: None
        self._abandoned: int | None = None

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end.

        Raises:
            InterruptedRunError: A signal came while it ran.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self._watch = watch = SignalWatch(self._stop, Ending(self._give_up))
        watch.listen()
        try:
            return await task
        except BaseException:
            if watch.received is not None:
                raise InterruptedRunError(watch.received) from None
            raise
        finally:
            watch.ending.be_silent()
            code = self._abandoned if watch.received is None else EXIT_OFFSET + watch.received
            if code is None:
                watch.ending.cancel()
                watch.release()
            else:
                watch.ending.within(LEAVE, code)

    def listen(self) -> None:
        """Have signals stop the work. To be called again once a flow has begun."""
        if self._watch is not None:
            self._watch.listen()

    def abandon(self, exit_code: int) -> None:
        """Stop the work without a signal; the process ends with the exit code when that takes too long."""
        assert self._watch is not None
        self._abandoned = exit_code
        self._watch.ending.within(GRACE, exit_code)
        self._cancel()

    def _stop(self) -> None:
        assert self._watch is not None
        assert self._watch.received is not None
        self._stopping(signal.Signals(self._watch.received))
        self._cancel()


@contextmanager
def sure_interrupt() -> Generator[None]:
    """Let Ctrl-C end the block even where a library turns it into an error, or swallows it, as pydantic's core does.

    The second ends the process at once. Where the process was started to ignore it, nothing changes.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    if signal.SIGINT not in SIGNALS:
        yield
        return
    pressed = False

    def press(number: int, _frame: object) -> None:
        nonlocal pressed
        if pressed:
            os._exit(EXIT_OFFSET + number)
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
