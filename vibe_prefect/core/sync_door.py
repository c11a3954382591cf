"""Calls of coroutines from plain code, also where an event loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Any, TypeVar

from vibe_prefect.core.user_code import DaemonExecutor

T = TypeVar("T")


def run_to_end(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, and return its result.

    Within a running event loop it gets a thread and an event loop of its own, and the running one stands still until
    it has ended. A `KeyboardInterrupt` meanwhile cancels it first.

    Args:
        call: Makes the coroutine.

    Raises:
        BaseException: Whatever the coroutine raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call())
    return _in_thread(call)


def _in_thread(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    begun: Future[Callable[[], object]] = Future()

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await call()

    ended = DaemonExecutor().submit(copy_context().run, lambda: asyncio.run(run()))
    try:
        return ended.result()
    except KeyboardInterrupt:
        if not ended.done():
            begun.result()()
            wait([ended])
        raise
