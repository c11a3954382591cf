"""The border to user code, such as tools, handlers and callbacks: anything that it raises becomes an ordinary error.

A `SystemExit` that reached the event loop would end the whole process, and a thread that never returns would keep it
alive. Here the first becomes an ordinary error, and blocking code runs in daemon threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

from vibe_prefect.errors import UserExitError

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 64
"""Largest number of blocking calls at once in an event loop. Abandoned ones do not count: they may never return."""

EXIT_SECONDS = 10.0
"""Seconds that a deployed run's process has after its main thread has ended, for threads of tools still at work."""

_in_user_code: contextvars.ContextVar[bool] = contextvars.ContextVar("vibe_prefect_in_user_code", default=False)
"""Whether user code is at work: the asyncio tasks that it starts are guarded."""

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


@contextmanager
def contained() -> Generator[None]:
    """Turn a `SystemExit`, or any other BaseException, of the code in the block into an error.

    Real signals pass: `KeyboardInterrupt`, those of Prefect, and the cancellation of the task that runs the block. In
    an asyncio task that the code starts, a `SystemExit` and a `GeneratorExit` become errors as well.

    Raises:
        UserExitError: The code raised a BaseException that is not a signal.
    """
    task = _current_task()
    if task is not None:
        _guard_tasks(task.get_loop())
    outside = _in_user_code.get()
    _in_user_code.set(True)
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if _is_signal(error, task):
            raise
        raise UserExitError(type(error).__name__, str(error)) from error
    finally:
        _in_user_code.set(outside)  # not by a token: a coroutine that is thrown away is closed in another context


@contextmanager
def isolated(logger: logging.Logger, what: str) -> Generator[None]:
    """Log errors of the code in the block instead of raising them; real signals pass.

    Args:
        logger: Where to log it.
        what: The event, for the log line, such as `The progress callback raised`.
    """
    try:
        with contained():
            yield
    except Exception:
        logger.exception("%s; the run goes on", what)


async def call_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call blocking code in a daemon thread, with the caller's context variables.

    When the caller is cancelled or timed out, the thread is abandoned: it ends when it ends, or with the process.

    Raises:
        UserExitError: The code raised `SystemExit` or another BaseException.
        Exception: Whatever else the code raises.
    """
    loop = asyncio.get_running_loop()
    async with _slots.setdefault(loop, asyncio.Semaphore(MAX_THREADS)):
        ended: asyncio.Future[tuple[Any, Exception | None]] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            outcome = _outcome(context, function, args)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, ended, outcome)

        threading.Thread(
            target=work, name=f"call of {getattr(function, '__name__', type(function).__name__)}", daemon=True
        ).start()
        returned, error = await ended
    if error is not None:
        raise error
    return returned


class DaemonExecutor(ThreadPoolExecutor):
    """The default executor of an event loop that is to end although a thread of `asyncio.to_thread` never returns."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a daemon thread of its own."""
        future: Future[T] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
                    future.set_exception(error)

        threading.Thread(target=work, name=f"call of {fn!r:.60}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nothing."""


def end_with_main_thread() -> None:
    """End this process a while after its main thread, also where a tool has left threads that never return."""

    def end() -> None:
        threading.main_thread().join()
        time.sleep(EXIT_SECONDS)
        os._exit(0)

    threading.Thread(target=end, name="end with main", daemon=True).start()


class _GuardedTasks:
    """Makes the tasks of an event loop: a `SystemExit` in a task of user code would end the loop at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._usual = loop.get_task_factory() or _plain_task

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Future[Any]:
        return self._usual(loop, _Guarded(coroutine) if _in_user_code.get() else coroutine, **options)


def _plain_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Future[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


def _guard_tasks(loop: asyncio.AbstractEventLoop) -> None:
    if not isinstance(loop.get_task_factory(), _GuardedTasks):
        loop.set_task_factory(_GuardedTasks(loop))


class _Guarded(Coroutine[Any, Any, T]):
    """A coroutine whose `SystemExit` or `GeneratorExit` becomes an error; it looks like the original otherwise."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        """Resume the coroutine."""
        try:
            return self._coroutine.send(value)
        except (SystemExit, GeneratorExit) as error:
            raise UserExitError(type(error).__name__, str(error)) from error

    def throw(self, *error: Any) -> Any:
        """Raise an error where the coroutine waits."""
        try:
            return self._coroutine.throw(*error)
        except (SystemExit, GeneratorExit) as exit_error:
            raise UserExitError(type(exit_error).__name__, str(exit_error)) from exit_error

    def close(self) -> None:
        """Throw the coroutine away."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)


def _outcome(
    context: contextvars.Context, function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Any, Exception | None]:
    """Return a function's result, or its error; no signal reaches a thread, so nothing else can escape."""
    try:
        return context.run(function, *args), None
    except Exception as error:  # noqa: BLE001 - it is raised where the caller waits
        return None, error
    except BaseException as error:  # noqa: BLE001 - likewise
        exited = UserExitError(type(error).__name__, str(error))
        exited.__cause__ = error
        return None, exited


def _settle(ended: asyncio.Future[tuple[Any, Exception | None]], outcome: tuple[Any, Exception | None]) -> None:
    if not ended.done():
        ended.set_result(outcome)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def _is_signal(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether a BaseException is meant for the run and not for the code that happened to be at work."""
    if isinstance(error, BaseExceptionGroup):
        parts = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return any(_is_signal(part, task) for part in parts if not isinstance(part, Exception))
    if isinstance(error, asyncio.CancelledError):
        return task is None or task.cancelling() > 0
    if isinstance(error, GeneratorExit):  # also what closes a coroutine that is thrown away
        return task is not _current_task()
    # Prefect's signals pause, abort or terminate a run; this layer does not import them.
    return isinstance(error, KeyboardInterrupt) or type(error).__module__ == "prefect.exceptions"
