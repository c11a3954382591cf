"""Nodes that a run does not execute itself, shown in Prefect without a trip through its task engine.

The engine takes milliseconds to show such a node. A resumed run may reuse thousands of nodes, and a stopped run has
seconds to show those that it did not get to.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, cast
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State, StateDetails, StateType, TaskRun, TaskRunResult
from prefect.context import FlowRunContext

from vibe_prefect.engine.node_states import CANCELLED, FALLBACK, SKIPPED
from vibe_prefect.engine.prefect_seam.event_stream import HeldEvents
from vibe_prefect.engine.prefect_seam.meanings import CACHED
from vibe_prefect.engine.prefect_seam.task_engine import announce
from vibe_prefect.engine.records.storage import OpaqueResult
from vibe_prefect.engine.run.tasks import node_task, tags_of
from vibe_prefect.plan.compiler import CompiledNode
from vibe_prefect.reporting.times.spans import Span


class Unexecuted(Enum):
    """The states in which Prefect shows a node that is not executed: the state's type and name."""

    KEPT = (StateType.COMPLETED, CACHED)
    """An earlier run finished it."""

    SKIPPED = (StateType.CANCELLED, SKIPPED)
    """A parent or a dependency did not complete, or the node was not selected."""

    CANCELLED = (StateType.CANCELLED, CANCELLED)
    """The run was stopped before it."""

    DONE = (StateType.COMPLETED, "Completed")
    """A child run executed it."""

    FELL_BACK = (StateType.COMPLETED, FALLBACK)
    """It failed in a child run, and has a fallback."""

    FAILED = (StateType.FAILED, "Failed")
    """It failed in a child run."""


def show_unexecuted(  # noqa: PLR0913 - what there is to show
    held: HeldEvents,
    node: CompiledNode,
    why: Unexecuted,
    upstream: Iterable[UUID],
    message: str | None = None,
    span: Span | None = None,
) -> tuple[UUID, OpaqueResult]:
    """Show a node in Prefect that is not executed, in its only state.

    Args:
        held: Sends what the server is told of it, when there is time.
        node: The node.
        why: The state.
        upstream: Ids of the task runs that it would have waited for.
        message: Message of the state.
        span: Time of its work elsewhere; `None` for no time.

    Returns:
        The id of its task run, and the upstream reference to it.
    """
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    task = node_task(node.node.type, node.policy, refresh=False)
    details = StateDetails(task_run_id=uuid4(), flow_run_id=context.flow_run.id)
    kind, name = why.value
    state: State[None] = State(type=kind, name=name, message=message, state_details=details)
    assert details.task_run_id is not None
    begin, end = (cast("Any", moment) for moment in _moments(span) or (state.timestamp, state.timestamp))
    task_run = TaskRun(
        id=details.task_run_id,
        name=node.id,
        flow_run_id=context.flow_run.id,
        flow_run_run_count=context.flow_run.run_count,
        task_key=task.task_key,
        task_version=task.version,
        dynamic_key=str(details.task_run_id),
        tags=tags_of(node, task.tags),
        task_inputs={"job": [], "wait_for": [TaskRunResult(id=id) for id in upstream]},
        expected_start_time=begin,
        start_time=begin,
        end_time=end,
        state=state,
    )
    reference = OpaqueResult(None)
    announce(task_run, state, reference, held)
    return task_run.id, reference


def _moments(span: Span | None) -> tuple[datetime, datetime] | None:
    return None if span is None else (datetime.fromtimestamp(span.begin, UTC), datetime.fromtimestamp(span.end, UTC))
