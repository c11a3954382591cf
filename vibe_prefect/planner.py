"""`MetaPlanner`, which plans vibes with a language model and runs the plans, through the reference's methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vibe_prefect.checkpoints.checkpoint import CheckpointInfo, WorkflowCheckpoint, WorkflowPersistenceManager
from vibe_prefect.core.budget import Budget
from vibe_prefect.core.models import Vibe, WorkflowPlan
from vibe_prefect.core.progress import ProgressCallback, ProgressEvent
from vibe_prefect.drawing.diagram import VisualizationFormat, WorkflowVisualizer
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.engine.placements.placement_checks import check_placements
from vibe_prefect.errors import DamagedCheckpointError, UnknownCheckpointError
from vibe_prefect.executor import WorkflowExecutor
from vibe_prefect.llm.checked_answers import MAX_ANSWERS, AnswerOptions
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.toolset import model_tools
from vibe_prefect.planning.drafting import PlannedDraft
from vibe_prefect.planning.drafts import DraftRules
from vibe_prefect.planning.knowledge import Note, read_notes
from vibe_prefect.planning.plans import PlanningKit, new_plan, refined_plan
from vibe_prefect.results import ExecutionResult
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.registry import LLM_TOOL, ForeignRegistry, ToolRegistry, adapted


@runtime_checkable
class ForeignKnowledge(Protocol):
    """Knowledge of another package, such as the reference's."""

    def to_prompt_context(self, query: str) -> str:
        """Return what it knows about a vibe's description, as text."""
        ...


MAX_REPLAN_ATTEMPTS = 3
"""Attempts of an adaptive run, unless set otherwise."""


class MetaPlanner:
    """Plans vibes with a language model, and runs the plans.

    A plan that the model writes names registered tools and allowed models alone, reads no files but the sources, and is
    checked as every other plan is. What is wrong with it goes back to the model until it is valid.
    """

    def __init__(  # noqa: PLR0913 - the reference's arguments and options by keyword
        self,
        llm_config: ModelConfig | None = None,
        progress_callback: ProgressCallback | None = None,
        checkpoint_interval: int | None = None,
        checkpoint_dir: str | Path = ".vibe_checkpoints",
        knowledge_base: ForeignKnowledge | None = None,
        tool_registry: ToolRegistry | ForeignRegistry | None = None,
        *,
        knowledge: Iterable[str | Path] = (),
        sources: Sequence[str] = (),
        model: str | None = None,
        max_answers: int = MAX_ANSWERS,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        executor: WorkflowExecutor | None = None,
    ) -> None:
        """Make a planner; no model is asked yet, and none need be configured.

        Args:
            llm_config: The models that write plans; by default those behind the registry's tools for texts, which the
                settings name.
            progress_callback: Called with each `ProgressEvent` of a run.
            checkpoint_interval: Number of completed nodes between two checkpoints of a run; `None` for no checkpoint.
            checkpoint_dir: Folder for checkpoints.
            knowledge_base: Knowledge of another package: what its `to_prompt_context` returns for a vibe's description.
            tool_registry: The tools that plans may name; by default those that the settings configure.
            knowledge: Markdown files, folders or globs with knowledge; each plan gets the notes that its vibe needs.
            sources: Files, folders and globs below the input folder that plans may read; none by default.
            model: The model that writes plans, one of those that the operator allows; the default model where `None`.
            max_answers: Answers that the model may give for one plan.
            budget_usd: US dollars that planning may cost, all plans of this planner together; the budget of runs is the
                executor's.
            max_tokens: Likewise for tokens, input and output together.
            executor: Runs the plans; by default one with the arguments above.

        Raises:
            UsageError: A file of knowledge is not there or cannot be read, or an option cannot be what it is.
        """
        self.llm_config = llm_config
        """The models that write plans; `None` for those behind the registry's tools for texts."""
        if executor is None:
            tools = None if tool_registry is None else adapted(tool_registry)
            executor = WorkflowExecutor(progress_callback, checkpoint_interval, checkpoint_dir, tools)
        self.executor = executor
        """Runs the plans."""
        self.progress_callback = progress_callback
        """Function that is called with each `ProgressEvent`; `None` for no callback."""
        self.checkpoint_dir = checkpoint_dir
        """Folder for checkpoints."""
        self.knowledge_base = knowledge_base
        """Knowledge of another package; `None` for none."""
        self.notes = read_notes(knowledge)
        """Notes to choose from for each vibe."""
        self.last_planned: PlannedDraft | None = None
        """The newest plan with the reasons for its nodes, its model and its cost; `None` before the first."""
        self.max_replan_attempts = MAX_REPLAN_ATTEMPTS
        """Largest number of attempts of `execute_with_adaptation`, the first included."""
        self.replan_history: list[dict[str, Any]] = []
        """Edits of all adaptive runs of this planner: the attempt before which each was made, and why."""
        self._sources = tuple(sources)
        self._model = model
        self._max_answers = AnswerOptions(max_answers=max_answers).max_answers  # refuses what cannot be
        self._budget_usd = budget_usd
        self._max_tokens = max_tokens
        Budget(usd=budget_usd, tokens=max_tokens)  # refuses limits that cannot be

    @cached_property
    def tool_registry(self) -> ToolRegistry:
        """The tools that plans may name."""
        if self.executor.tool_registry is not None:
            return adapted(self.executor.tool_registry)
        tools = configured_registry()
        for tool in model_tools(Models.of(self.llm_config)) if self.llm_config is not None else ():
            tools.register(tool)
        self.executor.tool_registry = tools
        return tools

    async def plan(self, vibe: Vibe) -> WorkflowPlan:
        """Plan a vibe.

        Raises:
            UsageError: There is no model to write plans, or it lacks a library or a key.
            PlanningError: The model wrote no valid plan; a `RuntimeError`. Its last answer is the error's `draft`.
        """
        self.last_planned = await new_plan(vibe, self._kit(vibe))
        return self.last_planned.draft.plan

    async def refine(self, plan: WorkflowPlan, change: str) -> WorkflowPlan:
        """Edit a plan as somebody wishes; it keeps its id and its vibe, and is left as it is itself.

        Args:
            plan: The plan.
            change: The wish, such as `shorter, and a gate on claims`.

        Raises:
            UsageError: There is no model, or the wish is empty.
            PlanError: The plan as it is cannot run.
            PlanningError: The model wrote no valid plan.
        """
        self.last_planned = await refined_plan(plan, change, self._kit(plan.source_vibe))
        return self.last_planned.draft.plan

    async def execute(self, vibe: Vibe) -> dict[str, Any]:
        """Plan a vibe, run the plan, and return the result as data; see `plan` for errors.

        Returns:
            `status`, `plan_id`, `vibe_description`, `execution_summary` and `node_results`.
        """
        plan, result = await self.plan_and_execute(vibe)
        return _data_of(plan, result)

    async def plan_and_execute(self, vibe: Vibe) -> tuple[WorkflowPlan, ExecutionResult]:
        """Plan a vibe and run the plan; see `plan` for errors."""
        plan = await self.plan(vibe)
        return plan, await self.executor.execute_plan(plan)

    async def execute_with_adaptation(self, vibe: Vibe) -> dict[str, Any]:
        """Plan a vibe and run the plan; while the result asks for another plan, edit it and resume with what is reused.

        There are at most `max_replan_attempts` attempts; see `WorkflowExecutor.execute_with_adaptation`. Unlike the
        reference, a last attempt that failed raises nothing: its data say so. See `plan` for errors.

        Returns:
            What `execute` returns, with `adaptation_info`: `total_attempts`, `adaptation_history` with the data of each
            attempt, `replan_history` with the edits before each further one, `final_feedback` and `final_suggestions`.
        """
        plan = await self.plan(vibe)
        result = await self.executor.execute_with_adaptation(plan, adapt=self.max_replan_attempts - 1)
        run = self.executor.last_run
        attempts = run.report.attempts if run is not None and run.report is not None else ()
        history = [{"attempt": number, **asdict(attempt)} for number, attempt in enumerate(attempts, 1)]
        replans = [{"attempt": number, "changes": one.changes} for number, one in enumerate(attempts, 1) if one.changes]
        self.replan_history += replans
        adaptation = {
            "total_attempts": len(attempts) or 1,
            "adaptation_history": history,
            "replan_history": replans,
            "final_feedback": result.feedback_data,
            "final_suggestions": result.replan_suggestions,
        }
        return {**_data_of(plan, result), "adaptation_info": adaptation}

    async def execute_with_visualization(
        self,
        vibe: Vibe,
        show_progress: bool = True,
        visualization_format: VisualizationFormat = VisualizationFormat.ASCII,
    ) -> dict[str, Any]:
        """Plan a vibe, run the plan, and draw what came of it; see `plan` for errors.

        Args:
            vibe: The wish.
            show_progress: Whether to print the progress, where there is no callback for it.
            visualization_format: Form of the drawing.

        Returns:
            What `execute` returns, with `visualization`, `parallel_efficiency` and `execution_groups`.
        """
        plan = await self.plan(vibe)
        callback = self.executor.progress_callback
        if show_progress and callback is None:
            self.executor.progress_callback = _print_progress
        try:
            result = await self.executor.execute_plan(plan)
        finally:
            self.executor.progress_callback = callback
        return {
            **_data_of(plan, result),
            "visualization": WorkflowVisualizer.generate_diagram(plan, result, visualization_format),
            "parallel_efficiency": result.parallel_efficiency,
            "execution_groups": result.execution_groups,
        }

    async def execute_with_resume(self, vibe: Vibe, checkpoint_id: str | None = None) -> dict[str, Any]:
        """Run the rest of a checkpoint's plan; without a checkpoint, plan a vibe and run the plan.

        Args:
            vibe: The wish; a checkpoint has its own.
            checkpoint_id: Id of the checkpoint.

        Returns:
            What `execute` returns, with `persistence_info`.

        Raises:
            DamagedCheckpointError: There is no such checkpoint, or it cannot be read; a `RuntimeError`.
            PlanningError: The model wrote no valid plan.
        """
        checkpoint = None if checkpoint_id is None else self._checkpoint(checkpoint_id)
        plan = await self.plan(vibe) if checkpoint is None else checkpoint.plan
        result = await self.executor.execute_plan(plan, checkpoint)
        persistence = {
            "checkpoint_dir": str(self.checkpoint_dir),
            "last_checkpoint_id": self.executor.last_checkpoint_id,
            "resumed_from": checkpoint_id,
            "checkpoint_enabled": self.executor.checkpoint_interval is not None,
        }
        return {**_data_of(plan, result), "persistence_info": persistence}

    def create_checkpoint(self, plan: WorkflowPlan, execution_result: ExecutionResult) -> str:
        """Write a checkpoint of a run, and return its id.

        Raises:
            CheckpointFileError: It cannot be written; a `RuntimeError`.
        """
        checkpoint = WorkflowCheckpoint(plan, execution_result)
        self._persistence.save_checkpoint(checkpoint)
        return checkpoint.checkpoint_id

    def list_checkpoints(self, plan_id: str | None = None) -> list[CheckpointInfo]:
        """List the checkpoints, newest first; of one plan alone where its id is given."""
        checkpoints = self._persistence.list_checkpoints()
        return [info for info in checkpoints if plan_id is None or info["plan_id"] == plan_id]

    def get_checkpoint(self, checkpoint_id: str) -> WorkflowCheckpoint:
        """Return a checkpoint.

        Raises:
            UnknownCheckpointError: There is no such checkpoint; a `FileNotFoundError`.
            DamagedCheckpointError: It cannot be read; a `RuntimeError`.
        """
        return self._persistence.load_checkpoint(checkpoint_id)

    def delete_checkpoint(self, checkpoint_id: str) -> bool:
        """Delete a checkpoint, and return whether there was one.

        Raises:
            CheckpointFileError: It cannot be deleted; a `RuntimeError`.
        """
        return self._persistence.delete_checkpoint(checkpoint_id)

    @cached_property
    def _persistence(self) -> WorkflowPersistenceManager:
        return WorkflowPersistenceManager(self.checkpoint_dir)

    @cached_property
    def _budget(self) -> Budget | None:
        if self._budget_usd is None and self._max_tokens is None:
            return None
        return Budget(usd=self._budget_usd, tokens=self._max_tokens)

    def _checkpoint(self, id: str) -> WorkflowCheckpoint:
        try:
            return self.get_checkpoint(id)
        except UnknownCheckpointError as error:
            raise DamagedCheckpointError(f"{error}; list_checkpoints() names those that there are") from error

    def _kit(self, vibe: Vibe) -> PlanningKit:
        tools = self.tool_registry
        placements = load_settings().placements
        rules = DraftRules(
            tools,
            self._sources,
            self.executor.handled_types,
            self.executor.simulate,
            further_check=partial(check_placements, placements=placements),
        )
        return PlanningKit(
            rules,
            (*self.notes, *self._foreign_notes(vibe)),
            self._models(tools),
            {name: placement.kind.value for name, placement in placements.items()},
            AnswerOptions(self._model, self._max_answers, self._budget),
        )

    def _models(self, tools: ToolRegistry) -> Models | None:
        """Return the models that write plans; `None` for those behind the registry's tools for texts."""
        if self.llm_config is not None:
            return Models.of(self.llm_config)
        if LLM_TOOL in tools and tools.traits(LLM_TOOL).model_limits is not None:
            return None
        settings = load_settings()  # the registry is the caller's own, and has no model
        config = settings.llm.config(settings.local)
        return None if config is None else Models.of(config)

    def _foreign_notes(self, vibe: Vibe) -> tuple[Note, ...]:
        if self.knowledge_base is None:
            return ()
        text = self.knowledge_base.to_prompt_context(vibe.description)
        return (Note("knowledge_base", text),) if text.strip() else ()


def _data_of(plan: WorkflowPlan, result: ExecutionResult) -> dict[str, Any]:
    summary = result.get_summary()
    names = ("total_nodes", "completed", "failed", "total_duration", "started_at", "completed_at")
    return {
        "status": summary["status"],
        "plan_id": summary["plan_id"],
        "vibe_description": plan.source_vibe.description,
        "execution_summary": {name: summary[name] for name in names},
        "node_results": {
            id: {
                "status": node.status.value,
                "result": node.result,
                "error": node.error,
                "duration": node.duration,
            }
            for id, node in result.node_results.items()
        },
    }


def _print_progress(event: ProgressEvent) -> None:
    print(f"[{event.timestamp}] {event.progress_percent:5.1f}% {event.message}")  # noqa: T201 - as the reference does
