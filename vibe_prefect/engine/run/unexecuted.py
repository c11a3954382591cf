"""Nodes that a run does not execute itself, shown in Prefect without a trip through its task engine.

The engine takes milliseconds to show such a node. A resumed run may reuse thousands of nodes, and a stopped run has
seconds to show those that it did not get to.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, cast
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State, StateDetails, StateType, TaskRun
from prefect.context import FlowRunContext

from vibe_prefect.engine.node_states import CANCELLED, FALLBACK, SKIPPED
from vibe_prefect.engine.prefect_seam.event_stream import HeldEvents, RunEvent
from vibe_prefect.engine.prefect_seam.meanings import CACHED
from vibe_prefect.engine.prefect_seam.task_engine import edges_from, state_event
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
    upstream: Sequence[UUID],
    message: str | None = None,
    span: Span | None = None,
) -> UUID:
    """Show a node in Prefect that is not executed, in its only state.

    Args:
        held: Sends what the server is told of it, when there is time.
        node: The node.
        why: The state.
        upstream: Ids of the task runs that it would have waited for.
        message: Message of the state.
        span: Time of its work elsewhere; `None` for no time.

    Returns:
        The id of its task run.
    """
    context = FlowRunContext.get()
    assert context is not None
    id, now = uuid4(), datetime.now(UTC)
    held.hold(lambda: _event(context, id, now, node, why, upstream, message, span))
    return id


def _event(  # noqa: PLR0913 - what there is to show
    context: FlowRunContext,
    id: UUID,
    now: datetime,
    node: CompiledNode,
    why: Unexecuted,
    upstream: Sequence[UUID],
    message: str | None,
    span: Span | None,
) -> RunEvent:
    flow_run = context.flow_run
    assert flow_run is not None
    task = node_task(node.node.type, node.policy, refresh=False)
    kind, name = why.value
    details = StateDetails(task_run_id=id, flow_run_id=flow_run.id)
    timestamp = cast("Any", now)
    state: State[None] = State(type=kind, name=name, timestamp=timestamp, message=message, state_details=details)
    begin, end = (cast("Any", moment) for moment in _moments(span) or (now, now))
    task_run = TaskRun(
        id=id,
        name=node.id,
        flow_run_id=flow_run.id,
        flow_run_run_count=flow_run.run_count,
        task_key=task.task_key,
        task_version=task.version,
        dynamic_key=str(id),
        tags=tags_of(node, task.tags),
        task_inputs={"job": [], "wait_for": edges_from(upstream)},
        expected_start_time=begin,
        start_time=begin,
        end_time=end,
        state=state,
    )
    return state_event(task_run, None, state, flow_run=context)


def _moments(span: Span | None) -> tuple[datetime, datetime] | None:
    return None if span is None else (datetime.fromtimestamp(span.begin, UTC), datetime.fromtimestamp(span.end, UTC))
