"""Executes the work of nodes at the placements of one run, each opened when the first node needs it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from prefect.logging import get_run_logger

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.engine.placements.carriers import open_carrier
from vibe_prefect.engine.placements.idle_watch import IdleWatch
from vibe_prefect.engine.placements.placement import Carrier
from vibe_prefect.engine.placements.portable_tools import portable_tools
from vibe_prefect.errors import PathTakenError, WorkerLostError
from vibe_prefect.results import now_iso
from vibe_prefect.run.node_work import NodeOutcome, NodeServices, NodeWork, failure_of
from vibe_prefect.run.sending import (
    BEGUN,
    PAUSED,
    PROGRESS,
    RESUMED,
    Message,
    ReadOutput,
    SentOutcome,
    SentWork,
    packed,
    unpacked,
)
from vibe_prefect.settings.placements import PlacementSettings
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.waits import current_clock, paused_clock


@dataclass
class Placements:
    """The placements of one run."""

    settings: Mapping[str, PlacementSettings]
    """The placements that the operator has named."""

    tools: ToolRegistry
    """The tools of the run."""

    def __post_init__(self) -> None:
        self._carriers: dict[str, asyncio.Future[Carrier]] = {}
        self._watches: dict[str, IdleWatch] = {}
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._watching:
            task.cancel()
        for name, opened in self._carriers.items():
            await asyncio.wait([opened])  # one that is still being opened may have started a cluster
            if opened.cancelled() or opened.exception() is not None:
                continue  # each node that needed it has said so
            try:
                await opened.result().close()
            except Exception as problem:  # noqa: BLE001 - each library has its own; the run has its results
                get_run_logger().warning("The placement %r could not be closed: %s", name, problem)

    async def execute(
        self,
        placement: str,
        work: NodeWork,
        services: NodeServices,
        most: Spending | None,
        references: Mapping[str, ReadOutput],
    ) -> NodeOutcome:
        """Make one attempt at a node at a placement; see `execute_node`.

        Args:
            placement: Name of the placement.
            work: The attempt, with tools of this process.
            services: Services of this process; its meter gets what was measured there.
            most: The most that the calls of the node can cost; `None` where that is not known.
            references: References to outputs that are not sent, by the id of the dependency.
        """
        hearing = _Hearing(services)
        try:
            sent_work = SentWork.of(replace(work, tools=portable_tools(self.tools, work.node)), references)
            sent = await self._send(placement, sent_work, services, most, hearing)
        except Exception as error:  # noqa: BLE001 - whatever happens to the work is the outcome of the attempt
            services.meter.note_lost(hearing.begun_at or now_iso(), hearing.seconds, failure_of(error))
            services.meter.note_place(placement)
            return NodeOutcome(services.meter, error=error)
        services.meter.add(sent.outcome.meter)
        services.meter.note_place(f"{placement} ({sent.host})")
        outcome = replace(sent.outcome, meter=services.meter)
        clash = work.workspace.files.take(work.node.record_id, sent.files)
        if clash is None or outcome.error is not None:
            return outcome
        path, reason = clash
        taken = PathTakenError(path, reason.owner, reason.reason)
        services.meter.note_failure(failure_of(taken))
        return NodeOutcome(services.meter, error=taken)

    async def _send(
        self, placement: str, sent: SentWork, services: NodeServices, most: Spending | None, hearing: _Hearing
    ) -> SentOutcome:
        with paused_clock():
            carrier = await self._opened(placement)
            reservation = None if services.budget is None else await services.budget.reserve_share(most)
        used = share = reservation.most if reservation is not None else Spending()
        node, watch = sent.work.node, self._watch(placement, carrier)

        def hear(message: Message) -> None:
            if message[0] == BEGUN:
                watch.begun(node.id)
            hearing.hear(message)

        try:
            payload = packed(_with_share(sent, services.budget, share), placement)
            with hearing, watch.sent(node.id, services.report_progress):
                done = unpacked(await carrier.carry(payload, node.policy.resources, hear))
            used = done.spent
        except WorkerLostError:  # nobody knows what it has spent
            raise
        except Exception:
            used = Spending()
            raise
        finally:
            if reservation is not None:
                reservation.settle(used)
        return done

    async def _opened(self, placement: str) -> Carrier:
        """Return a placement, opened by the first node that needs it; where that failed, the next one tries again."""
        opened = self._carriers.get(placement)
        if opened is None or (opened.done() and (opened.cancelled() or opened.exception() is not None)):
            opened = asyncio.ensure_future(open_carrier(placement, self.settings[placement]))
            self._carriers[placement] = opened
        return await asyncio.shield(opened)

    def _watch(self, placement: str, carrier: Carrier) -> IdleWatch:
        if placement not in self._watches:
            self._watches[placement] = watch = IdleWatch(placement, carrier)
            self._watching.append(asyncio.create_task(watch.watch()))
        return self._watches[placement]


def _with_share(sent: SentWork, budget: Budget | None, share: Spending) -> SentWork:
    """Return work with its share of the budget."""
    return replace(
        sent,
        usd=share.usd if budget is not None and budget.usd is not None else None,
        tokens=share.tokens if budget is not None and budget.tokens is not None else None,
    )


def limits_of(placements: Mapping[str, PlacementSettings]) -> dict[str, int]:
    """Return the limits of a run's nodes at once that placements have, by the names that `RunLimits` takes."""
    return {
        f"placement:{name}": settings.concurrency
        for name, settings in placements.items()
        if settings.concurrency is not None
    }


class _Hearing:
    """Hears the messages about one work. The time of the attempt stands still until the work has begun."""

    def __init__(self, services: NodeServices) -> None:
        self._report = services.report_progress
        self._clock = current_clock()
        self._pauses = 0
        self._began = math.nan
        self.begun_at: str | None = None
        """When the work has begun, ISO 8601; `None` before that."""

    @property
    def seconds(self) -> float:
        """Seconds since the work has begun; 0 before that."""
        return 0.0 if self.begun_at is None else time.perf_counter() - self._began

    def __enter__(self) -> Self:
        self._pause()
        return self

    def __exit__(self, *_: object) -> None:
        while self._pauses:
            self._resume()
        self._clock = self._report = None  # a message that comes late is about nothing any more

    def hear(self, message: Message) -> None:
        """Do what a message asks for."""
        kind, fraction, text = message
        if kind == BEGUN:
            self.begun_at, self._began = now_iso(), time.perf_counter()
        if kind == PROGRESS and self._report is not None:
            self._report(fraction, text)
        elif kind == PAUSED:
            self._pause()
        elif kind in (BEGUN, RESUMED) and self._pauses:
            self._resume()

    def _pause(self) -> None:
        if self._clock is not None:
            self._clock.pause()
            self._pauses += 1

    def _resume(self) -> None:
        assert self._clock is not None
        self._pauses -= 1
        self._clock.resume()
