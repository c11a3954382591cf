"""Node snapshots: the states of a run's nodes as the Prefect server has them on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.results import ResultRecordMetadata  # pyright: ignore[reportPrivateImportUsage]

from vibe_prefect.engine.listing import paged
from vibe_prefect.engine.node_states import CANCELLED, SKIPPED
from vibe_prefect.engine.prefect_seam.meanings import CACHED, raised_text
from vibe_prefect.results import ExecutionStatus

RETRYING = frozenset({"AwaitingRetry", "Retrying", "AwaitingConcurrencySlot"})
"""Names of states of a node that has begun and waits."""

_NODE_TASKS = ("_run_node-", "_skip-")
"""Prefixes of the keys of tasks that stand for nodes; tool calls are task runs too."""

_STATUSES = {
    StateType.COMPLETED: ExecutionStatus.COMPLETED,
    StateType.FAILED: ExecutionStatus.FAILED,
    StateType.CRASHED: ExecutionStatus.FAILED,
    StateType.CANCELLED: ExecutionStatus.SKIPPED,
    StateType.CANCELLING: ExecutionStatus.RUNNING,
    StateType.RUNNING: ExecutionStatus.RUNNING,
}


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """Snapshot of one node as the server has it on record."""

    id: str
    """The node's id."""

    status: ExecutionStatus
    """Status of the node."""

    reused: bool
    """Whether it was reused from an earlier run."""

    started: datetime | None
    """Start of its first attempt."""

    seconds: float
    """Seconds that its attempts took; until now for a node at work."""

    attempts: int
    """Number of attempts that began."""

    error: str | None
    """Reason why it failed or was skipped."""

    record: str | None
    """Path of its record, `<namespace>/<node id>-<key>`; `None` when it has none."""

    task_run: UUID | None = None
    """Id of its task run."""

    next_attempt: datetime | None = None
    """Begin of the next attempt, of a node that waits for it."""


async def observe_nodes(client: PrefectClient, flow_run: UUID) -> Mapping[str, NodeSnapshot]:
    """Return snapshots of the nodes that a run has come to, by id; the newer one where a retried run has two."""
    newest: dict[str, TaskRun] = {}
    pages = paged(
        lambda size, offset: client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])),
            sort=TaskRunSort.ID_DESC,
            limit=size,
            offset=offset,
        )
    )
    async for task_run in pages:
        previous = newest.get(task_run.name)
        if task_run.task_key.startswith(_NODE_TASKS) and (previous is None or _age(task_run) > _age(previous)):
            newest[task_run.name] = task_run
    return {id: _sight(id, task_run) for id, task_run in newest.items()}


def _age(task_run: TaskRun) -> tuple[int, float]:
    """Return the sort key of a node's task runs: the try of the flow, then the time."""
    return task_run.flow_run_run_count, task_run.created.timestamp() if task_run.created else 0.0


def _sight(id: str, task_run: TaskRun) -> NodeSnapshot:
    state = task_run.state
    status = _status(state)
    return NodeSnapshot(
        id=id,
        status=status,
        reused=state is not None and state.name == CACHED,
        started=task_run.start_time if status is not ExecutionStatus.SKIPPED else None,
        seconds=max(0.0, _seconds(task_run)),
        attempts=task_run.run_count,
        error=_error(state) if status in (ExecutionStatus.FAILED, ExecutionStatus.SKIPPED) else None,
        record=_record(state) if status is ExecutionStatus.COMPLETED else None,
        task_run=task_run.id,
        next_attempt=state.state_details.scheduled_time if state and state.name in RETRYING else None,
    )


def _status(state: State[Any] | None) -> ExecutionStatus:
    if state is None:
        return ExecutionStatus.PENDING
    if state.name in RETRYING:
        return ExecutionStatus.RUNNING
    return _STATUSES.get(state.type, ExecutionStatus.PENDING)


def _seconds(task_run: TaskRun) -> float:
    if task_run.end_time is None and task_run.start_time is not None:
        return (datetime.now(UTC) - task_run.start_time).total_seconds()
    return task_run.total_run_time.total_seconds()


def _error(state: State[Any] | None) -> str:
    """Return the reason, without the words and the class name that Prefect puts before the message."""
    message = raised_text((state.message if state else None) or "")
    names = (SKIPPED, CANCELLED)
    return message or ("no message" if state is None or state.name in names else f"{state.name}: no message")


def _record(state: State[Any] | None) -> str | None:
    data: Any = state.data if state else None
    if not isinstance(data, ResultRecordMetadata) or not data.storage_key:
        return None
    return "/".join(data.storage_key.replace("\\", "/").split("/")[-2:])
