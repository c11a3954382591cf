"""Events of a run on their way to Prefect's server: Prefect's own stream, with little work for each event.

Prefect checks each event by models, writes it as JSON twice, looks up what it is related to, and hands it from thread
to thread. A node has three events, whose shape is known, and whose relations are those of its run.
"""

from __future__ import annotations

import asyncio
import logging
import queue
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from prefect.context import FlowRunContext
from prefect.events.clients import NullEventsClient
from prefect.events.related import related_resources_from_run_context
from prefect.events.schemas.events import Event
from prefect.events.worker import EventsWorker
from prefect.utilities.context import temporary_context
from pydantic_core import to_json

logger = logging.getLogger(__name__)

NEAR = timedelta(minutes=5)
"""Time within which Prefect orders an event after the one that it follows."""

MOST_RUNS = 100
"""Runs of which a process remembers what they are related to."""

MOST_HELD = 1_000
"""Events of a run that are held at once; beyond them the first is sent."""

HELD_AT_ONCE = 20
"""Held events that are sent together while the run goes on."""

HELD_SECONDS = 0.5
"""Seconds between these: a server with SQLite spends a third of its time on them."""

Related = list[dict[str, str]]
"""Resources that an event is related to, as Prefect sends them."""


@dataclass(slots=True)
class RunEvent:
    """An event of a flow run or of what ran in it, with the attributes of Prefect's own that its client reads."""

    id: UUID
    """Its id."""

    occurred: datetime
    """When it happened."""

    flow_run: FlowRunContext
    """The flow run: the event is related to all that this is related to."""

    content: dict[str, Any]
    """The event as data, with the relations of its own."""

    text: str = field(default="", init=False)
    """The event as JSON, once it is sent."""

    def model_dump_json(self) -> str:
        """Return the event as JSON."""
        return self.text


EventMaker = Callable[[], RunEvent]
"""Makes an event that is not needed before it is sent."""


class RunEventsWorker(EventsWorker):
    """Sends the events of runs in this process, each run's in their order."""

    def __init__(self, *args: Any) -> None:
        """Make a worker; `instance()` returns the one that there is."""
        super().__init__(*args)
        self._related: dict[UUID, Related] = {}

    def _prepare_item(self, event: Any) -> Any:
        return event

    def _on_item_dropped(self, item: Any) -> None:
        pass

    async def _handle(self, event: Any) -> None:
        await self._send(event)
        # Prefect hands over each event from thread to thread; those that wait already are taken at once.
        while True:
            try:
                following = cast("Any", self._queue.get_nowait())
            except queue.Empty:
                return
            try:
                if following is None:  # the end, which the caller looks for
                    self._queue.put_nowait(None)
                    return
                await self._send(following)
            finally:
                self._queue.task_done()

    async def _send(self, item: RunEvent | EventMaker) -> None:
        event = item if isinstance(item, RunEvent) else item()
        try:
            await self._emit(event)
        except Exception as error:
            if not self._stopped:
                raise  # Prefect logs it, and its client sends the event again with a later one
            # The process is to end. The client has tried for seconds, and would try for each of those that wait.
            logger.warning(
                "Events of runs did not reach the Prefect server, whose pages will lack what they tell (%d): %s",
                1 + self._drop_waiting(),
                str(error) or type(error).__name__,
            )

    def _drop_waiting(self) -> int:
        """Drop what waits, and return how many events that were."""
        dropped = 0
        with suppress(queue.Empty):
            while self._queue.get_nowait() is not None:
                self._queue.task_done()
                dropped += 1
            self._queue.put_nowait(None)  # the end, which the caller looks for
            self._queue.task_done()
        return dropped

    async def _emit(self, event: RunEvent) -> None:
        own: Related = event.content["related"]
        known = {resource["prefect.resource.id"] for resource in (*own, event.content["resource"])}
        shared = [resource for resource in await self._relations(event) if resource["prefect.resource.id"] not in known]
        event.text = to_json({**event.content, "related": own + shared}).decode()
        await self._client.emit(cast("Event", event))

    async def _relations(self, event: RunEvent) -> Related:
        """Return what a flow run is related to: itself, its flow, its deployment and its tags, among others."""
        flow_run = event.flow_run.flow_run
        assert flow_run is not None
        if flow_run.id not in self._related:
            context = Context()
            context.run(FlowRunContext.__var__.set, event.flow_run)
            with temporary_context(context):
                found = await related_resources_from_run_context(self._orchestration_client)
            if len(self._related) >= MOST_RUNS:  # of a process that serves runs for months
                self._related.clear()
            self._related[flow_run.id] = [dict(resource.root) for resource in found]
        return self._related[flow_run.id]


class HeldEvents:
    """Events of a run that nobody waits for, such as those of reused nodes: the server gets a few at a time.

    A server takes up to 8 ms for each, and a resume may have hundreds at once. What the run asks of the server at its
    end would wait behind them. Those that are left are sent after that.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._events: deque[EventMaker] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def hold(self, make: EventMaker) -> None:
        """Hold an event, which is made when it is sent, in another thread."""
        self._events.append(make)
        if len(self._events) > MOST_HELD:
            self._send(1)

    def send(self) -> None:
        """Send what is left."""
        self._send(len(self._events))

    @asynccontextmanager
    async def trickling(self) -> AsyncGenerator[None]:
        """Send a few from time to time until the block ends."""
        trickle = asyncio.create_task(self._trickle())
        try:
            yield
        finally:
            trickle.cancel()

    async def _trickle(self) -> None:
        while True:
            self._send(HELD_AT_ONCE)
            await asyncio.sleep(HELD_SECONDS)

    def _send(self, count: int) -> None:
        _hand_over([self._events.popleft() for _ in range(min(count, len(self._events)))])


def send(event: RunEvent) -> RunEvent:
    """Send an event; a failure to send it is logged, and fails nothing."""
    _hand_over([event])
    return event


def _hand_over(events: Sequence[RunEvent | EventMaker]) -> None:
    if not events:
        return
    try:
        worker = RunEventsWorker.instance()
        if worker.client_type is not NullEventsClient:
            for event in events:
                worker.send(cast("Event", event))
    except Exception:
        logger.exception("Events of a run could not be sent")


def event_of(  # noqa: PLR0913 - what an event consists of
    event: str,
    resource: dict[str, str],
    related: Related,
    payload: dict[str, Any],
    *,
    id: UUID | None = None,
    occurred: datetime | None = None,
    follows: RunEvent | None = None,
    flow_run: FlowRunContext | None = None,
) -> RunEvent:
    """Return an event of a flow run, of the form that Prefect's `emit_event` sends.

    Args:
        event: The event's name.
        resource: What it is about.
        related: Resources that it is related to, besides those of the flow run.
        payload: JSON data, which nobody changes any more.
        id: The event's id; a new one by default.
        occurred: When it happened; now by default.
        follows: The event before it, which the server is to take in first.
        flow_run: The flow run; the current one by default.
    """
    flow_run = flow_run or FlowRunContext.get()
    assert flow_run is not None
    id, occurred = id or uuid4(), occurred or datetime.now(UTC)
    is_ordered = follows is not None and abs(occurred - follows.occurred) < NEAR
    content = {
        "occurred": occurred,
        "event": event,
        "resource": resource,
        "related": related,
        "payload": payload,
        "id": id,
        "follows": follows.id if follows is not None and is_ordered else None,
    }
    return RunEvent(id, occurred, flow_run, content)
