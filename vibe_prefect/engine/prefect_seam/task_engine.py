"""Prefect's task engine with less work around each task run.

It runs the task, its retries and its record as Prefect does, by Prefect's own code. It leaves out what a node never
uses: assets of tasks, the Pending state of a task that begins at once, and a context that is entered twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import FunctionType
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, task_engine
from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.context import FlowRunContext, TaskRunContext
from prefect.results import ResultRecord, should_persist_result  # pyright: ignore[reportPrivateImportUsage]
from prefect.task_engine import AsyncTaskRunEngine
from prefect.utilities.text import truncated_to

from vibe_prefect.engine.prefect_seam.event_stream import RunEvent, event_of, send

P = ParamSpec("P")
R = TypeVar("R")


class OpenTask(Task[..., Any]):
    """A task that gets the task run of each of its calls at once, before anything else can go wrong with it."""

    def created(self, task_run: TaskRun, parameters: Mapping[str, Any]) -> None:
        """Note a new task run: whatever happens from now on, the engine reports it to the server.

        Args:
            task_run: The task run.
            parameters: Arguments of the call.
        """

    async def run(self, parameters: dict[str, Any], upstream: Iterable[UUID] = ()) -> State[Any]:
        """Run the task within the current flow run to its end, and return its final state; its errors are in that.

        Args:
            parameters: The arguments, by name.
            upstream: Ids of the task runs from which edges lead to this one. They have ended: nothing is waited for.
        """
        task_run = await self.create_local_run(
            parameters=parameters,
            flow_run_context=FlowRunContext.get(),
            parent_task_run_context=TaskRunContext.get(),
        )
        task_run.task_inputs["wait_for"] = edges_from(upstream)
        self.created(task_run, parameters)
        return await _run_task(task=self, task_run=task_run, parameters=parameters, return_type="state")


def edges_from(upstream: Iterable[UUID]) -> list[Any]:
    """Return what a task run holds of the task runs from which edges lead to it."""
    return [TaskRunResult(id=id) for id in upstream]


def state_event(
    task_run: TaskRun,
    before: State[Any] | None,
    state: State[Any],
    follows: RunEvent | None = None,
    flow_run: FlowRunContext | None = None,
) -> RunEvent:
    """Return the event from which the server makes a task run's record, of the same form as Prefect's own.

    Args:
        task_run: The task run.
        before: The state before; `None` for its first one.
        state: The state.
        follows: The event of the state before, where there was one.
        flow_run: The flow run; the current one by default.
    """
    inputs = sum(len(sources) for sources in task_run.task_inputs.values())
    left_out = _OF_THE_SERVER if inputs <= _MOST_INPUTS else {*_OF_THE_SERVER, "task_inputs"}
    payload = {
        "intended": {"from": before.type.value if before else None, "to": state.type.value},
        "initial_state": _state_data(before) if before else None,
        "validated_state": {**_state_data(state), "data": _record_data(state)},
        "task_run": task_run.model_dump(mode="json", exclude_none=True, exclude=left_out),
    }
    resource = {
        "prefect.resource.id": f"prefect.task-run.{task_run.id}",
        "prefect.resource.name": task_run.name,
        "prefect.run-count": str(task_run.run_count),
        "prefect.state-message": truncated_to(_LONGEST_MESSAGE, state.message),
        "prefect.state-name": state.name or "",
        "prefect.state-timestamp": state.timestamp.isoformat(),
        "prefect.state-type": state.type.value,
        "prefect.orchestration": "client",
    }
    tags = [f"prefect.tag.{tag}" for tag in sorted(task_run.tags)]
    return event_of(
        f"prefect.task-run.{state.name}",
        resource,
        [{"prefect.resource.id": tag, "prefect.resource.role": "tag"} for tag in tags],
        payload,
        id=state.id,
        occurred=state.timestamp,
        follows=follows,
        flow_run=flow_run,
    )


def send_state(
    task_run: TaskRun, initial_state: State[Any] | None, validated_state: State[Any], follows: RunEvent | None = None
) -> RunEvent:
    """Send the event of a new state; takes the place of Prefect's function, and has its arguments."""
    return send(state_event(task_run, initial_state, validated_state, follows))


_LONGEST_MESSAGE = 100_000
"""Characters of a state's message in an event, as Prefect cuts it."""

_MOST_INPUTS = 10_000
"""Edges to a task run that an event may tell of: the server refuses one of 1.5 MB, and the task run with it."""

_OF_THE_SERVER = {
    "id",
    "created",
    "updated",
    "flow_run_id",
    "state_id",
    "state_type",
    "state_name",
    "state",
    "estimated_start_time_delta",
    "estimated_run_time",
}
"""Fields of a task run that the server works out."""


def _state_data(state: State[Any]) -> dict[str, Any]:
    details = state.state_details.model_dump(
        mode="json", exclude_none=True, exclude_unset=True, exclude={"flow_run_id", "task_run_id"}
    )
    message = truncated_to(_LONGEST_MESSAGE, state.message)
    return {"type": state.type.value, "name": state.name, "message": message, "state_details": details}


def _record_data(state: State[Any]) -> dict[str, Any] | None:
    data: Any = state.data
    is_kept = isinstance(data, ResultRecord) and should_persist_result()
    return data.metadata.model_dump(mode="json") if is_kept else None


def _with(function: Any, **names: Any) -> Any:
    """Return a function of Prefect's task engine for which some names of its module mean something else."""
    return FunctionType(
        function.__code__, {**vars(task_engine), **names}, argdefs=function.__defaults__, closure=function.__closure__
    )


def _ignore(state: State[Any], result: object) -> None:
    """Do nothing."""


class _Engine(AsyncTaskRunEngine[P, R]):
    """Prefect's own, which sends its events on the stream of the run."""

    set_state = _with(vars(AsyncTaskRunEngine)["set_state"], emit_task_run_state_change_event=send_state)

    # Edges lead from task runs by their ids, so no result needs to be known as that of a task run.
    handle_success = _with(vars(AsyncTaskRunEngine)["handle_success"], link_state_to_task_run_result=_ignore)

    _is_set_up = False

    def setup_run_context(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, client: Any = None
    ) -> AbstractAsyncContextManager[None]:
        """Enter the task run's context with its arguments as they are; an attempt finds it entered."""
        if self._is_set_up:
            return nullcontext()
        self._is_set_up = True
        self._resolve_parameters()
        return super().setup_run_context(client)

    def asset_context(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> AbstractAsyncContextManager[None]:
        """Enter nothing: the assets of a run are those of its files."""
        return nullcontext()


_run_task = _with(task_engine.run_task_async, AsyncTaskRunEngine=_Engine)
