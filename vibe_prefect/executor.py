"""`WorkflowExecutor`, which runs plans through the contract's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import get_client

from vibe_prefect.checkpoints.checkpoint import WorkflowCheckpoint
from vibe_prefect.checkpoints.writer import CheckpointWriter
from vibe_prefect.core.models import NodePolicy, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.progress import ProgressCallback, ProgressReporter, RunObserver
from vibe_prefect.core.run_values import ReplanBy, Reuse
from vibe_prefect.core.sync_door import run_to_end
from vibe_prefect.engine.from_checkpoint import finished_in
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.engine.local_flow import call_flow
from vibe_prefect.engine.local_run import LocalRun, RunHandle
from vibe_prefect.engine.publish.drain import uses_embedded_server, wait_recorded, warn_of_missing
from vibe_prefect.engine.run.asking import Prompt
from vibe_prefect.engine.run.clients import shared_clients
from vibe_prefect.engine.run_end import RunEnd
from vibe_prefect.engine.runs.model_change import check_models
from vibe_prefect.engine.runs.resume_target import check_resumable
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.compiler import CompiledPlan, Simulate, compile_plan
from vibe_prefect.plan.graph import PlanSource
from vibe_prefect.plan.selection import Choice
from vibe_prefect.replanning.edits import Replan
from vibe_prefect.replanning.replan import replan_after
from vibe_prefect.reporting.attempts import RunHistory
from vibe_prefect.results import ExecutionResult
from vibe_prefect.run.handlers import NodeHandler, builtin_handler
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.settings.package import VibePrefectSettings, load_settings
from vibe_prefect.tools.registry import ForeignRegistry, ToolRegistry, adapted

DEFAULT_ADAPT = 3
"""Number of further attempts of `execute_with_adaptation`."""


class WorkflowExecutor:
    """Runs plans, each as a Prefect flow run.

    One executor may run several plans, also side by side. What is set on its attributes takes effect at the next run.
    """

    def __init__(  # noqa: PLR0913 - the contract's arguments and options by keyword
        self,
        progress_callback: ProgressCallback | None = None,
        checkpoint_interval: int | None = None,
        checkpoint_dir: str | Path = ".vibe_checkpoints",
        tool_registry: ToolRegistry | ForeignRegistry | None = None,
        *,
        simulate: Simulate | str = Simulate.UNBACKED,
        concurrency: int | Literal["settings"] | None = "settings",
        type_policies: Mapping[WorkflowNodeType, NodePolicy] | None = None,
        observers: Sequence[RunObserver] = (),
        reuse: Reuse = "run",
        storage: str | Path | None = None,
        input_root: str | Path | None = None,
        output: str | Path | None = None,
        wait_recorded: bool | None = None,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        artifacts: bool | None = None,
        without_model: bool = False,
        prompt: Prompt | None = None,
        run_on: str | None = None,
        adapt: int = 0,
        replan_by: ReplanBy = "rule",
    ) -> None:
        """Make an executor; nothing runs yet.

        Args:
            progress_callback: Called with each `ProgressEvent`; when it raises, that is logged.
            checkpoint_interval: Number of completed nodes between two checkpoints, 1 or more; the last is written at
                the end. `None` for no checkpoint. What a run finished is persisted all the same.
            checkpoint_dir: Folder for checkpoints.
            tool_registry: The tools that nodes may name, in a registry of this package or another one; the built-in
                and installed ones by default, and what the settings configure.
            simulate: Which nodes the simulation stands in for; by default those that nothing else runs.
            concurrency: Number of nodes that may run at once; by default as the settings say, `None` for no limit.
            type_policies: Execution defaults for each node type, below the plan's own policy.
            observers: Further listeners, which the engine itself calls at each step.
            reuse: Runs whose records are reused: `run` for the run itself and the run that it resumes, `plan` for every
                run of the plan that says so too.
            storage: Storage of records: a folder, or a saved Prefect block as `<block type>/<name>`.
            input_root: The only folder that tools may read from; by default as the settings say.
            output: The folder for what runs make; each run has a folder of its own below it. By default as the settings
                say.
            wait_recorded: Whether to wait, bounded, until the server has recorded every task run; by default only when
                Prefect's embedded server is in use, which ends with this process.
            budget_usd: US dollars that models and paid tools may cost in a run, the cost of the nodes that it reuses
                included; a call that could exceed it is not made. `None` for no limit.
            max_tokens: Likewise for tokens, input and output together.
            artifacts: Whether runs put feedback, summary, progress and pictures into Prefect; by default as the
                setting `artifacts` says.
            without_model: Whether to resume also without the language model that the earlier run had: with the one that
                is configured now, or where there is none with templates, and unjudged.
            prompt: Asks a person within the run about what the tool `approve` shows: an async function that takes the
                question and returns the answers by item. `None` to end the run as waiting, for `approve` and `resume`.
            run_on: Name of the placement where all nodes run; by default as the plan says.
            adapt: Number of further attempts at a run that is not good enough, each with the plan edited by what
                came of the last one; the budget is for all attempts together. See `execute_with_adaptation`.
            replan_by: Who edits the plan between attempts: `rule`, or `model` for the default model.

        Raises:
            UsageError: An option cannot be what it is.
        """
        self.node_handlers: dict[WorkflowNodeType, NodeHandler] = {
            kind: getattr(self, f"_execute_{kind.value}") for kind in WorkflowNodeType
        }
        """Handler for each node type; replace an entry to run that type yourself."""
        self.progress_callback = progress_callback
        """Function that is called with each `ProgressEvent`; `None` for no callback."""
        self.checkpoint_interval = checkpoint_interval
        self.checkpoint_dir = checkpoint_dir
        """Folder for checkpoints."""
        self.tool_registry = tool_registry
        """The tools that nodes may name; `None` for those of the settings."""
        self.last_checkpoint_id: str | None = None
        """Id of the newest checkpoint; `None` until one was written."""
        self._simulate = Simulate(simulate)
        self._type_policies = dict(type_policies or {})
        self._observers = tuple(observers)
        self._storage = storage
        self._wait_recorded = wait_recorded
        self._artifacts = artifacts
        self._prompt = prompt
        self._runs: tuple[LocalRun, ...] = ()
        run_options = {
            "simulate": self._simulate is Simulate.ALL,
            "reuse": reuse,
            "budget_usd": budget_usd,
            "max_tokens": max_tokens,
            "without_model": without_model,
            "run_on": run_on,
            "adapt": adapt,
            "replan_by": replan_by,
            **({} if concurrency == "settings" else {"concurrency": concurrency}),
            **({} if input_root is None else {"input_root": str(input_root)}),
            **({} if output is None else {"output": str(output)}),
        }
        RunOptions().replaced(run_options)
        self._given: Mapping[str, Any] = run_options

    @property
    def last_run(self) -> RunHandle | None:
        """The newest run that has begun; `None` before the first."""
        return next((run.handle for run in reversed(self._runs) if run.handle is not None), None)

    def note_stop(self, reason: str) -> None:
        """Note that a person stops this executor's runs: once their calls are cancelled, they end as Cancelled.

        A run whose call is cancelled for another reason ends as Crashed.

        Args:
            reason: The message of the state.
        """
        for run in self._runs:
            run.stopped = reason

    @property
    def handled_types(self) -> frozenset[WorkflowNodeType]:
        """Node types that a handler of the caller's own runs."""
        return frozenset(self._own_handlers())

    @property
    def simulate(self) -> Simulate:
        """Nodes that the simulation stands in for."""
        return self._simulate

    @property
    def checkpoint_interval(self) -> int | None:
        """Number of completed nodes between two checkpoints; `None` for no checkpoints."""
        return self._checkpoint_interval

    @checkpoint_interval.setter
    def checkpoint_interval(self, interval: int | None) -> None:
        self._checkpoint_interval = _checked_interval(interval)

    @cached_property
    def _settings(self) -> VibePrefectSettings:
        return load_settings()

    @cached_property
    def _configured_tools(self) -> ToolRegistry:
        return configured_registry(self._settings)

    def _registry(self) -> ToolRegistry:
        return self._configured_tools if self.tool_registry is None else adapted(self.tool_registry)

    async def _execute_builtin(self, node: WorkflowNode) -> dict[str, Any]:
        """Run a node as this package does; for handlers and subclasses that hand over to it."""
        return await builtin_handler(node)

    # The names under which code written for the reference finds the handlers, to call or to override them.
    _execute_analyze = _execute_builtin
    _execute_generate = _execute_builtin
    _execute_transform = _execute_builtin
    _execute_validate = _execute_builtin
    _execute_composite = _execute_builtin

    def compile(
        self, plan: WorkflowPlan, source: PlanSource | None = None, *, inputs: Mapping[str, Any] | None = None
    ) -> CompiledPlan:
        """Check a plan as `execute_plan` would, without running anything.

        Args:
            plan: The plan.
            source: The file it came from, for the places in messages.
            inputs: Values of the inputs that it declares, by name.

        Raises:
            PlanError: The plan cannot run as written.
            InputsError: An input is unknown, missing, or has a value that does not fit.
        """
        return self._compile(plan, source).with_inputs(inputs or {})

    def _compile(self, plan: WorkflowPlan, source: PlanSource | None = None) -> CompiledPlan:
        return compile_plan(
            plan,
            tools=self._registry(),
            handled_types=self._own_handlers().keys(),
            simulate=self._simulate,
            type_policies=self._type_policies,
            source=source,
        )

    async def execute_plan(
        self,
        plan: WorkflowPlan,
        resume_from_checkpoint: WorkflowCheckpoint | str | None = None,
        *,
        resume_from: str | None = None,
        choice: Choice | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecutionResult:
        """Run a plan to its end.

        A failing node raises nothing: the result says so, and the flow run ends Failed.

        Args:
            plan: The plan.
            resume_from_checkpoint: A checkpoint, which need not have been saved, or the id of one in
                `checkpoint_dir`: what it has as completed is not executed again. Unlike `resume_from` this is a run of
                its own, and it needs nothing of the earlier one.
            resume_from: Name or id of an earlier flow run of the plan: what finished there is not executed again, also
                when the plan was edited since; only changed nodes, and those that depend on their outputs, run again.
            choice: Which nodes may be executed, and which are executed even where there is a record of them.
            inputs: Values of the inputs that the plan declares, by name; those left out have the plan's defaults.

        Raises:
            SelectionError: A selector does not parse, or matches nothing.
            PlanError: The plan cannot run as written; nothing was executed.
            UnknownCheckpointError: There is no such checkpoint; a `FileNotFoundError`.
            DamagedCheckpointError: The checkpoint cannot be read; a `RuntimeError`.
            UnknownRunError: The Prefect server does not know the run to resume.
            RunInUseError: Another process still executes it.
            UsageError: Both a checkpoint and a run are given.
            InputsError: An input is unknown, missing, or has a value that does not fit.
        """
        return await self.execute_compiled(
            self.compile(plan, inputs=inputs),
            resume_from_checkpoint=resume_from_checkpoint,
            resume_from=resume_from,
            choice=choice,
        )

    async def execute_with_adaptation(  # noqa: PLR0913 - options by keyword
        self,
        plan: WorkflowPlan,
        resume_from_checkpoint: WorkflowCheckpoint | str | None = None,
        *,
        adapt: int = DEFAULT_ADAPT,
        resume_from: str | None = None,
        choice: Choice | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecutionResult:
        """Run a plan, and as long as the result asks for another plan: edit it, and resume with what is reused.

        It ends when nothing is left to improve, or the attempts or the budget are used up, or an attempt was no better
        than the one before. Each attempt is a run of its own; the report of each, `last_run.report`, has the attempts
        up to it.

        Args:
            plan: The plan.
            resume_from_checkpoint: See `execute_plan`.
            adapt: Number of further attempts.
            resume_from: See `execute_plan`.
            choice: See `execute_plan`.
            inputs: See `execute_plan`.

        Returns:
            The result of the last attempt.
        """
        return await self.execute_compiled(
            self.compile(plan, inputs=inputs),
            resume_from_checkpoint=resume_from_checkpoint,
            resume_from=resume_from,
            choice=choice,
            adapt=adapt,
        )

    async def replan(self, result: ExecutionResult, plan: WorkflowPlan | None = None) -> Replan:
        """Edit the plan of this executor's last run by what came of it, and run nothing.

        Args:
            result: The result of that run.
            plan: The plan, where it is another one than that of the run.

        Raises:
            UsageError: The result is not that of the last run, or a model is wanted and none is configured.
            PlanError: The plan cannot run any more.
            ReplanError: No answer of the model was an edit that the plan can take.
        """
        run = next((run for run in reversed(self._runs) if run.handle and run.handle.result is result), None)
        if run is None or run.handle is None or run.handle.report is None:
            raise UsageError("replan: this is not the result of the last run; operations.replan takes a run")
        options = RunOptions().replaced(self._given)
        return await replan_after(
            run.handle.report,
            self._compile(plan or run.compiled.plan),
            self._registry(),
            self._compile,
            options.replan_by,
            options.budget(),
        )

    def execute_plan_sync(
        self,
        plan: WorkflowPlan,
        resume_from_checkpoint: WorkflowCheckpoint | str | None = None,
        *,
        resume_from: str | None = None,
        choice: Choice | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecutionResult:
        """Run a plan to its end from plain code; see `execute_plan` for the arguments and the errors.

        Within a running event loop, such as a notebook's, that loop stands still until the run has ended.
        """
        return run_to_end(
            lambda: self.execute_plan(
                plan, resume_from_checkpoint, resume_from=resume_from, choice=choice, inputs=inputs
            )
        )

    async def execute_compiled(  # noqa: PLR0913 - options by keyword
        self,
        compiled: CompiledPlan,
        *,
        resume_from_checkpoint: WorkflowCheckpoint | str | None = None,
        resume_from: str | None = None,
        choice: Choice | None = None,
        plan_file: str | Path | None = None,
        adapt: int | None = None,
    ) -> ExecutionResult:
        """Run a plan that `compile` returned, and the attempts that follow where the executor adapts.

        Args:
            compiled: The plan, compiled.
            resume_from_checkpoint: See `execute_plan`.
            resume_from: See `execute_plan`.
            choice: See `execute_plan`.
            plan_file: The file that the plan came from, for the report of the run.
            adapt: Number of further attempts; by default as the executor has it.
        """
        run = await self.execute_attempt(
            compiled,
            resume_from_checkpoint=resume_from_checkpoint,
            resume_from=resume_from,
            choice=choice,
            plan_file=plan_file,
            adapt=adapt,
        )
        while run.next is not None:
            run = await self.execute_next(run, choice, adapt)
        assert run.result is not None
        return run.result

    async def execute_next(self, run: RunHandle, choice: Choice | None = None, adapt: int | None = None) -> RunHandle:
        """Make the attempt that follows a run in which the executor adapts; `run.next` has its plan.

        Args:
            run: The run.
            choice: The nodes that it was restricted to; what it refreshed is not refreshed again.
            adapt: Number of further attempts after the first; by default as the executor has it.

        Returns:
            The run of that attempt, with its result.
        """
        assert run.next is not None
        restricted = Choice(choice.select, choice.exclude) if choice is not None else None
        return await self.execute_attempt(
            run.next.compiled,
            resume_from=str(run.flow_run_id),
            choice=restricted,
            adapt=adapt,
            history=run.next.history,
        )

    async def execute_attempt(  # noqa: PLR0913 - options by keyword
        self,
        compiled: CompiledPlan,
        *,
        resume_from_checkpoint: WorkflowCheckpoint | str | None = None,
        resume_from: str | None = None,
        choice: Choice | None = None,
        plan_file: str | Path | None = None,
        adapt: int | None = None,
        history: RunHistory | None = None,
    ) -> RunHandle:
        """Make one attempt at a plan that `compile` returned.

        Args:
            compiled: The plan, compiled.
            resume_from_checkpoint: See `execute_plan`.
            resume_from: See `execute_plan`.
            choice: See `execute_plan`.
            plan_file: The file that the plan came from, for the report of the run.
            adapt: Number of further attempts after the first; by default as the executor has it.
            history: The attempts before it; `None` for the first.

        Returns:
            The run, with its result, and with the attempt that follows, if any.
        """
        if resume_from_checkpoint is not None and resume_from is not None:
            raise UsageError("a run resumes from a checkpoint or from a run, not from both: leave one of them out")
        choice = choice or Choice()
        choice.check(compiled)
        compiled = compiled.with_inputs(compiled.values.given)
        selected = {"select": choice.select, "exclude": choice.exclude, "refresh": choice.refresh}
        of_run = {"resume_from": resume_from, "inputs": compiled.values.given}
        of_run |= {} if adapt is None else {"adapt": adapt}
        options = self._settings.run_options.replaced({**self._given, **selected, **of_run})
        imported, earlier = finished_in(resume_from_checkpoint, self.checkpoint_dir, compiled, self._compile)
        writers = self._checkpoint_writers(compiled, earlier)
        run = LocalRun(
            compiled,
            self._registry(),
            self._settings,
            handlers=self._own_handlers(),
            observers=(*writers, *self._all_observers()),
            storage=self._storage,
            imported=imported,
            plan_file=None if plan_file is None else str(plan_file),
            artifacts=self._artifacts,
            prompt=self._prompt,
            compiled_as=self._compile,
            history=history or RunHistory(),
        )
        end = RunEnd(run)
        self._note_run(run)
        async with shared_clients():
            try:
                if resume_from is not None:
                    async with get_client() as client:
                        run.earlier = await check_resumable(client, resume_from)
                    if not options.without_model:
                        check_models(run.earlier, run.models)
                with run.current():
                    await end.outcome(call_flow(compiled.plan, options))
            finally:
                for writer in writers:
                    writer.close()
                self._runs = tuple(started for started in self._runs if started is not run or run.handle is not None)
            assert run.handle is not None
            await self._settle(run.handle, end.settle_seconds())
        return run.handle

    def _checkpoint_writers(
        self, compiled: CompiledPlan, earlier: ExecutionResult | None
    ) -> tuple[CheckpointWriter, ...]:
        """Return the writers of the run's checkpoints; empty where none are wanted."""
        if self.checkpoint_interval is None:
            return ()
        keys = {id: node.key for id, node in compiled.nodes.items()}
        return (
            CheckpointWriter(
                self.checkpoint_dir,
                self.checkpoint_interval,
                node_keys=keys,
                earlier=earlier,
                written=self._note_checkpoint,
            ),
        )

    def _note_checkpoint(self, checkpoint_id: str) -> None:
        self.last_checkpoint_id = checkpoint_id

    def _note_run(self, run: LocalRun) -> None:
        """Remember a run that is about to begin, and forget those that ended before the newest that has begun."""
        newest = next((earlier for earlier in reversed(self._runs) if earlier.handle is not None), None)
        remembered = (earlier for earlier in self._runs if earlier is newest or earlier.handle is None)
        self._runs = (*remembered, run)

    async def _settle(self, handle: RunHandle, patience: float) -> None:
        """Wait until the server has the run's task runs on record, where that is wanted and the server answers."""
        must_wait = uses_embedded_server() if self._wait_recorded is None else self._wait_recorded
        if not must_wait or not handle.reported:
            return
        handle.recorded = await wait_recorded(handle.flow_run_id, handle.task_runs, patience)
        if handle.recorded is not None and handle.recorded < handle.task_runs:
            await warn_of_missing(handle.name, handle.recorded, handle.task_runs)

    def _own_handlers(self) -> dict[WorkflowNodeType, NodeHandler]:
        builtin = (builtin_handler, WorkflowExecutor._execute_builtin)
        return {
            WorkflowNodeType(kind): handler
            for kind, handler in self.node_handlers.items()
            if getattr(handler, "__func__", handler) not in builtin
        }

    def _all_observers(self) -> tuple[RunObserver, ...]:
        reporters = (ProgressReporter(self.progress_callback),) if self.progress_callback is not None else ()
        return (*reporters, *self._observers)


def _checked_interval(interval: Any) -> int | None:
    if interval is None or (isinstance(interval, int) and not isinstance(interval, bool) and interval >= 1):
        return interval
    raise UsageError(f"checkpoint_interval is {interval!r}: expected a number of nodes, 1 or more, or None")
