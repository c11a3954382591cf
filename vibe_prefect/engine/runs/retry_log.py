"""Retries of a run's nodes, read from the run's log on the Prefect server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from logging import WARNING
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterLevel, LogFilterTimestamp
from prefect.client.schemas.objects import Log
from prefect.client.schemas.sorting import LogSort

from vibe_prefect.core.retries import Retry
from vibe_prefect.engine.listing import PAGE
from vibe_prefect.engine.runs.node_snapshots import NodeSnapshot

LATE = timedelta(seconds=10)
"""Time by which lines may reach the server later than lines that were written after them."""


class RetryLog:
    """Reader of a run's retries: each is returned once."""

    def __init__(self, client: PrefectClient, flow_run: UUID) -> None:
        """Read nothing yet.

        Args:
            client: The server's client.
            flow_run: The run.
        """
        self._client = client
        self._flow_run = flow_run
        self._newest: datetime | None = None
        self._read: set[UUID] = set()

    async def new(self, snapshots: Mapping[str, NodeSnapshot]) -> Sequence[tuple[NodeSnapshot, Retry]]:
        """Return the retries that the log has got since the last call, oldest first, each with its node.

        Args:
            snapshots: The run's nodes; they say when a waiting node is tried again.
        """
        of_task = {snapshot.task_run: snapshot for snapshot in snapshots.values()}
        notices: list[tuple[NodeSnapshot, Retry]] = []
        for line in await self._new_lines():
            snapshot, retry = of_task.get(line.task_run_id), Retry.from_text(line.message)
            if snapshot is not None and retry is not None:
                notices.append((snapshot, replace(retry, pause=_pause(snapshot, retry))))
        return notices

    async def _new_lines(self) -> Sequence[Log]:
        """Return the warnings of the run that were not read before, oldest first."""
        since = self._newest and self._newest - LATE
        wanted = LogFilter(
            level=LogFilterLevel(ge_=WARNING),
            flow_run_id=LogFilterFlowRunId(any_=[self._flow_run]),
            timestamp=LogFilterTimestamp.model_validate({"after_": since}) if since else None,
        )
        lines: list[Log] = []
        while page := await self._client.read_logs(wanted, PAGE, len(lines), LogSort.TIMESTAMP_ASC):
            lines += page
            if len(page) < PAGE:
                break
        new = [line for line in lines if line.id not in self._read]
        self._read = {line.id for line in lines}
        self._newest = lines[-1].timestamp if lines else self._newest
        return new


def _pause(snapshot: NodeSnapshot, retry: Retry) -> float | None:
    """Return the seconds until a retry begins; `None` where it has begun, or its time is not known."""
    if snapshot.next_attempt is None or snapshot.attempts + 1 != retry.attempt:
        return None
    return max(0.0, (snapshot.next_attempt - datetime.now(UTC)).total_seconds())
