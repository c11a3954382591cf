"""Prefect tasks: one for each node type and policy, and one for tool calls.

Prefect links runs by the identity of the objects it sees in parameters and results, which draws edges that no plan has.
So a task takes one node run, inside `quote`, and returns an opaque result; its edges are told to Prefect by the ids of
task runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

from anyio import current_effective_deadline, current_time
from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import TaskRunNameCallbackWithParameters
from prefect.utilities.annotations import quote

from vibe_prefect.core.approval import AnswerAwaitedError
from vibe_prefect.core.feedback import Failure
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.core.user_code import contained
from vibe_prefect.engine.node_states import CANCELLED, WAITS
from vibe_prefect.engine.prefect_seam.task_engine import OpenTask
from vibe_prefect.engine.records.storage import NodeRecord, OpaqueResult, record_path
from vibe_prefect.errors import ShownError, ToolError
from vibe_prefect.plan.compiler import CompiledNode, ExecutionPolicy
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.run.handlers import NodeHandler
from vibe_prefect.run.node_work import failure_of, is_retryable
from vibe_prefect.run.run_state import NodeRun
from vibe_prefect.text.sendable import MAX_STATE, sendable, shown
from vibe_prefect.tools.base import ToolResult
from vibe_prefect.tools.waits import MAX_WAITING, attempt_clock

TOOL_TASK = "tool"

STOPPED = "The run was cancelled while this node was at work"


@dataclass(kw_only=True)
class NodeJob(NodeRun):
    """A node run as a Prefect task."""

    namespace: str
    """Namespace of its record."""

    attempt: Callable[[NodeJob], Awaitable[NodeRecord | State[OpaqueResult]]]
    """Makes one attempt; returns the record, or a state that holds it."""

    note_retry: Callable[[NodeJob, float | None], object]
    """Called when an attempt has failed and another one follows, with the seconds until then where they are known."""

    refresh: bool = False
    """Whether it is executed even where there is a record."""

    handler: NodeHandler | None = None
    """Makes the result of a composite from what its items made; `None` for any other node."""

    task_run_id: UUID | None = None
    """Id of its task run, from the moment on from which Prefect reports it to the server whatever happens."""

    ended: UUID | None = None
    """Id of its task run, once that has ended; `None` before."""

    kept_failure: NodeProvenance | None = None
    """Provenance that was written for a failed attempt; `None` before that."""

    @property
    def name(self) -> str:
        """Name of the task run."""
        return self.node.id


@dataclass(frozen=True)
class ToolJob:
    """One tool call that a handler makes."""

    name: str
    """Name of the task run: the tool's name."""

    call: Callable[[], Awaitable[ToolResult]]
    """Makes the call."""


@dataclass
class RecordPolicy(CachePolicy):
    """Finds a node's record by its content key: nothing is hashed at run time."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the path of the node run's record."""
        job: NodeJob = inputs["job"]
        return record_path(job.namespace, job.node.record_id, job.node.key)


class _NodeTask(OpenTask):
    """A task that notes its task run in its node run."""

    def created(self, task_run: TaskRun, parameters: Mapping[str, Any]) -> None:
        parameters["job"].unquote().task_run_id = task_run.id


@lru_cache(maxsize=512)
def node_task(node_type: WorkflowNodeType, policy: ExecutionPolicy, refresh: bool) -> OpenTask:
    """Return the task for all nodes of a type with a policy.

    Args:
        node_type: The type; its name is the task's.
        policy: Their execution policy.
        refresh: Whether they are executed even where there is a record, which is then replaced.
    """
    keep = policy.cache != "disable"
    return _NodeTask(
        _run_node,
        name=node_type.value,
        task_run_name=_job_name,
        tags=policy.tags,
        retries=policy.retries,
        retry_delay_seconds=list(policy.retry_delays) or None,
        retry_jitter_factor=policy.retry_jitter or None,
        retry_condition_fn=_may_retry if policy.retries else None,
        cache_policy=RecordPolicy() if keep else NO_CACHE,
        cache_result_in_memory=False,
        persist_result=keep,
        refresh_cache=refresh,
    )


async def run_node(job: NodeJob, upstream: Iterable[UUID]) -> State[OpaqueResult]:
    """Run a node's task to its end and return its final state; a failing node raises nothing.

    Args:
        job: The node.
        upstream: Ids of the task runs from which edges lead to its own.
    """
    task = node_task(job.node.node.type, job.node.policy, job.refresh)
    return await task.run({"job": quote(job)}, upstream)


async def run_tool(job: ToolJob) -> ToolResult:
    """Make a tool call as a task of its own within the node's task."""
    try:
        state = await tool_task().run({"job": quote(job)})
        opaque: OpaqueResult = await state.aresult()
    except ShownError as error:  # the handler that called the tool gets the tool's own error
        raise error.original or error from None
    return opaque.value


@lru_cache(maxsize=1)
def tool_task() -> OpenTask:
    """Return the task for the tool calls of handlers."""
    return OpenTask(
        _run_tool, name=TOOL_TASK, task_run_name=_job_name, cache_policy=NO_CACHE, persist_result=False, tags=()
    )


def _name_of(parameters: dict[str, Any]) -> str:
    return parameters["job"].name


_job_name = cast("TaskRunNameCallbackWithParameters", _name_of)


async def _run_node(job: NodeJob) -> OpaqueResult | State[Any]:
    _tag(job.node)
    job.failure = None
    # Not Prefect's own timeout: that one cannot stand still while an endpoint makes the node wait.
    with attempt_clock(job.node.policy.timeout):
        return await _attempt(job)


async def _attempt(job: NodeJob) -> OpaqueResult | State[Any]:
    try:
        made = await job.attempt(job)
        return made if isinstance(made, State) else OpaqueResult(made)
    except asyncio.CancelledError:
        if current_effective_deadline() <= current_time():  # its own timeout, which Prefect turns into a state
            job.note_failure(timeout_failure(job.node.policy))
            raise
        return State(type=StateType.CANCELLED, name=CANCELLED, message=STOPPED)
    except AnswerAwaitedError as awaited:
        return State(type=StateType.PAUSED, name=WAITS, message=sendable(str(awaited), MAX_STATE))
    except Exception as error:
        job.note_failure(failure_of(error))
        shown_error = shown(error)
        if shown_error is error:
            raise
        raise shown_error from None


def timeout_failure(policy: ExecutionPolicy) -> Failure:
    """Build the `Failure` of an attempt that took longer than a policy allows."""
    return Failure("TimeoutError", f"timeout: the node took longer than its {policy.timeout:g} s")


async def _may_retry(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether another attempt may help, after the pause that the other side asks for, if any."""
    error: object = state.data
    if not is_retryable(error):
        return False
    job = _job_at_work()
    if isinstance(error, ToolError) and error.retry_after:
        wait = min(error.retry_after, MAX_WAITING)
        job.note_retry(job, wait + job.node.policy.retry_delays[task_run.run_count - 1])
        await asyncio.sleep(wait)
    else:
        # Prefect draws the pause, and puts the task run into its waiting state, before this loop's next turn.
        asyncio.get_running_loop().call_soon(lambda: job.note_retry(job, pause_of(task_run)))
    return True


def _job_at_work() -> NodeJob:
    context = TaskRunContext.get()
    assert context is not None
    return context.parameters["job"]


def pause_of(task_run: TaskRun) -> float | None:
    """Return the seconds until a waiting task run is tried again; `None` where it does not wait."""
    begin = task_run.state.state_details.scheduled_time if task_run.state else None
    return None if begin is None else max(0.0, begin.timestamp() - time.time())


def tags_of(node: CompiledNode, given: Iterable[str]) -> list[str]:
    """Return the tags of a node's task run: those given, the node's type, and its tool."""
    tool = [f"tool:{node.tool}"] if node.tool else []
    return sorted({*given, node.node.type.value, *tool})


def _tag(node: CompiledNode) -> None:
    """Tag the task run with type and tool. Tags of the task itself would each cost a request for a limit's slot."""
    context = TaskRunContext.get()
    assert context is not None
    context.task_run.tags = tags_of(node, context.task_run.tags)


async def _run_tool(job: ToolJob) -> OpaqueResult:
    try:
        with contained():
            return OpaqueResult(await job.call())
    except Exception as error:
        shown_error = shown(error)
        if shown_error is error:
            raise
        raise shown_error from None
