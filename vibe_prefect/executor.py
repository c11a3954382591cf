"""The contract's way in: `WorkflowExecutor`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from prefect.client.schemas.objects import State

from vibe_prefect.compiler import CompiledPlan, Simulate, compile_plan
from vibe_prefect.engine.drain import uses_embedded_server, wait_recorded
from vibe_prefect.engine.flow import RunHandle, RunOptions, run_options, run_plan
from vibe_prefect.errors import PlanRunError, UsageError
from vibe_prefect.graph import PlanSource
from vibe_prefect.handlers import BUILTIN_HANDLERS, NodeHandler
from vibe_prefect.models import NodePolicy, WorkflowNodeType, WorkflowPlan
from vibe_prefect.progress import ProgressCallback, ProgressReporter, RunObserver
from vibe_prefect.results import ExecutionResult
from vibe_prefect.tools.registry import ToolRegistry, default_registry

logger = logging.getLogger(__name__)


class WorkflowExecutor:
    """Runs plans, each as a Prefect flow run.

    One executor may run several plans, also side by side.
    """

    def __init__(
        self,
        progress_callback: ProgressCallback | None = None,
        checkpoint_interval: int | None = None,
        checkpoint_dir: str | Path = ".vibe_checkpoints",
        tool_registry: ToolRegistry | None = None,
        *,
        simulate: Simulate | str = Simulate.UNBACKED,
        concurrency: int | None = None,
        type_policies: Mapping[WorkflowNodeType, NodePolicy] | None = None,
        observers: Sequence[RunObserver] = (),
        storage: str | Path | None = None,
        input_root: str | Path = ".",
        output: str | Path = "outputs",
        wait_recorded: bool | None = None,
    ) -> None:
        """Make an executor; nothing runs yet.

        Args:
            progress_callback: Called with each `ProgressEvent`; when it raises, that is logged.
            checkpoint_interval: Not available yet: `None` is the only value. What a run finished is persisted all the
                same.
            checkpoint_dir: Where checkpoints will go.
            tool_registry: The tools that nodes may name; the built-in and installed ones by default.
            simulate: Which nodes the simulation stands in for; by default those that nothing else runs.
            concurrency: How many nodes may run at once; `None` for no limit.
            type_policies: Execution defaults for each node type, below the plan's own policy.
            observers: More listeners than the callback, told of each step by the engine itself.
            storage: Where records are kept: a folder, or a saved Prefect block as `<block type>/<name>`.
            input_root: The only folder that tools may read from.
            output: The folder for what runs make; each run has a folder of its own below it.
            wait_recorded: Whether to wait, bounded, until the server has recorded every task run; by default only when
                Prefect's embedded server is in use, which ends with this process.
        """
        if checkpoint_interval is not None:
            raise UsageError("checkpoint_interval is not available in this version; leave it out")
        self.node_handlers: dict[WorkflowNodeType, NodeHandler] = dict(BUILTIN_HANDLERS)
        """What runs each node type; replace an entry to run that type yourself."""
        self.last_run: RunHandle | None = None
        """The newest run that has begun."""
        self.checkpoint_dir = Path(checkpoint_dir)
        """Where checkpoints go."""
        self.last_checkpoint_id: str | None = None
        """Id of the newest checkpoint; `None` until one was written."""
        self._callback = progress_callback
        self._tools = tool_registry
        self._simulate = Simulate(simulate)
        self._concurrency = concurrency
        self._type_policies = dict(type_policies or {})
        self._observers = tuple(observers)
        self._storage = storage
        self._input_root = str(input_root)
        self._output = str(output)
        self._wait_recorded = wait_recorded

    @property
    def tools(self) -> ToolRegistry:
        """The tools that nodes may name."""
        if self._tools is None:
            self._tools = default_registry()
        return self._tools

    def compile(self, plan: WorkflowPlan, source: PlanSource | None = None) -> CompiledPlan:
        """Check a plan as `execute_plan` would, without running anything.

        Args:
            plan: The plan.
            source: The file it came from, for the places in messages.

        Raises:
            PlanError: The plan cannot run as written.
        """
        return compile_plan(
            plan,
            tools=self.tools,
            handled_types=self._own_handlers().keys(),
            simulate=self._simulate,
            type_policies=self._type_policies,
            source=source,
        )

    async def execute_plan(self, plan: WorkflowPlan, *, resume_from: str | None = None) -> ExecutionResult:
        """Run a plan to its end.

        A failing node raises nothing: the result says so, and the flow run ends Failed.

        Args:
            plan: The plan.
            resume_from: Name or id of an earlier flow run of the plan: what finished there is not executed again, also
                when the plan was edited since; only changed nodes, and what depends on their outputs, run anew.

        Raises:
            PlanError: The plan cannot run as written; nothing was executed.
            UnknownRunError: The Prefect server does not know the run to go on from.
            RunInUseError: Another process still executes it.
        """
        return await self.execute_compiled(self.compile(plan), resume_from=resume_from)

    async def execute_compiled(self, compiled: CompiledPlan, *, resume_from: str | None = None) -> ExecutionResult:
        """Run a plan that `compile` returned; see `execute_plan`."""
        handles: list[RunHandle] = []
        options = RunOptions(
            compiled,
            self.tools,
            handlers=self._own_handlers(),
            observers=self._all_observers(),
            storage=self._storage,
            announce=self._announcer(handles),
        )
        with run_options(options):
            state = await self._call_flow(compiled.plan, resume_from)
        outcome: Any = await state.aresult(raise_on_failure=False)
        await self._settle(handles)
        if isinstance(outcome, PlanRunError):
            return outcome.result
        if isinstance(outcome, BaseException):
            raise outcome
        return cast("ExecutionResult", outcome)

    async def _call_flow(self, plan: WorkflowPlan, resume_from: str | None) -> State[Any]:
        called: Any = run_plan(
            plan,
            resume_from=resume_from,
            simulate=self._simulate is Simulate.ALL,
            concurrency=self._concurrency,
            input_root=self._input_root,
            output=self._output,
            return_state=True,
        )
        return cast("State[Any]", await called)

    def _announcer(self, handles: list[RunHandle]) -> Callable[[RunHandle], None]:
        def announce(handle: RunHandle) -> None:
            handles.append(handle)
            self.last_run = handle

        return announce

    async def _settle(self, handles: list[RunHandle]) -> None:
        wanted = uses_embedded_server() if self._wait_recorded is None else self._wait_recorded
        for handle in handles if wanted else ():
            recorded = await wait_recorded(handle.flow_run_id, handle.task_runs)
            handle.recorded = recorded
            if recorded < handle.task_runs:
                logger.warning(
                    "The Prefect server has %d of %d task runs of %s on record; the others will be missing from its UI",
                    recorded,
                    handle.task_runs,
                    handle.name,
                )

    def _own_handlers(self) -> dict[WorkflowNodeType, NodeHandler]:
        return {
            WorkflowNodeType(kind): handler
            for kind, handler in self.node_handlers.items()
            if handler is not BUILTIN_HANDLERS.get(kind)
        }

    def _all_observers(self) -> tuple[RunObserver, ...]:
        own = (ProgressReporter(self._callback),) if self._callback is not None else ()
        return (*own, *self._observers)
