"""The end of a run: the time after its last node is bounded, and failures in it never replace the result."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.context import AsyncClientContext
from prefect.settings import get_current_settings
from prefect.utilities.annotations import quote

from vibe_prefect.engine.local_run import LocalRun, RunHandle
from vibe_prefect.engine.prefect_seam.clients import cut_off
from vibe_prefect.engine.server.server_failures import explain, without_login
from vibe_prefect.errors import PlanRunError, UsageError, shorten
from vibe_prefect.results import ExecutionResult, resume_command

logger = logging.getLogger(__name__)

END_SECONDS = 40.0
"""Seconds from the last node's end until Prefect has the run's report, artifacts and final state."""

SETTLE_SECONDS = 45.0
"""Seconds from the last node's end during which a server that takes in no task runs is waited for: with the time in
which the process ends, the end stays within a minute."""

LEAST_SETTLE_SECONDS = 5.0
"""Seconds that such a server has in any case."""

STOP_SECONDS = 5.0
"""Seconds for Prefect to give up after that."""


class _NoAnswerError(Exception):
    """The end of a run that took Prefect too long."""


class RunEnd:
    """Waits for a flow call: as long as its nodes take, and then a bounded time."""

    def __init__(self, run: LocalRun) -> None:
        """Bound the end of a run that has not begun."""
        self._run = run

    def settle_seconds(self) -> float:
        """Return how long to wait for a server that takes in no more task runs, once the flow's call has returned."""
        return max(LEAST_SETTLE_SECONDS, SETTLE_SECONDS - (time.monotonic() - (self._run.ended_at or 0.0)))

    async def outcome(self, call: Coroutine[Any, Any, State[Any]]) -> ExecutionResult:
        """Await the call of the flow and return its result, also where Prefect could not be reached for the end.

        Raises:
            Exception: The run failed before its nodes had ended, or it could not begin.
        """
        try:
            state = await self._bounded(call)
            outcome: Any = await state.aresult(raise_on_failure=False)
            if isinstance(outcome, PlanRunError):
                return outcome.result
            if isinstance(outcome, BaseException):
                raise outcome
        except UsageError:
            raise
        except Exception as error:
            handle = self._run.handle
            if handle is None or handle.result is None:
                raise
            _warn(handle, error)
            handle.reported = False
            return handle.result
        finally:
            self._run.held.send()
        return cast("quote[ExecutionResult]", outcome).unquote()

    async def _bounded(self, call: Coroutine[Any, Any, State[Any]]) -> State[Any]:
        calling = asyncio.create_task(call)
        begun = asyncio.create_task(self._run.ended.wait())
        try:
            await asyncio.wait([calling, begun], return_when=asyncio.FIRST_COMPLETED)
            finished, _ = await asyncio.wait([calling], timeout=END_SECONDS)
            if not finished:
                await _give_up(calling)
                raise _NoAnswerError
            return calling.result()
        except asyncio.CancelledError:
            calling.cancel()
            await asyncio.wait([calling])
            raise
        finally:
            begun.cancel()


async def _give_up(calling: asyncio.Task[State[Any]]) -> None:
    """Stop a flow call that tries to reach the server: Prefect's client would try again for minutes."""
    context = AsyncClientContext.get()
    if context is not None:
        with suppress(Exception):
            await asyncio.wait_for(cut_off(context.client), STOP_SECONDS)
    calling.cancel()
    calling.add_done_callback(_forget)
    await asyncio.wait([calling], timeout=STOP_SECONDS)


def _forget(calling: asyncio.Task[State[Any]]) -> None:
    """Retrieve the exception of a stopped call, so that asyncio does not report it."""
    if not calling.cancelled():
        calling.exception()


def _warn(handle: RunHandle, error: Exception) -> None:
    api_url = get_current_settings().api.url or ""
    if isinstance(error, _NoAnswerError):
        reason = f"the Prefect server at {without_login(api_url)} did not answer, or answered to come back later"
    else:
        reason = explain(error, api_url) or f"{type(error).__name__}: {shorten(str(error), 300)}"
    logger.warning(
        "every node has ended, but Prefect could not be told so: %s. The result and all records are kept; "
        "the run may look unfinished in Prefect's UI until `%s` ends it, which reuses what finished",
        reason,
        resume_command(handle.name),
    )
