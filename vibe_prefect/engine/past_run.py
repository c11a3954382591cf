"""A run as the Prefect server has it on record, with typed parameters and all that derives from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import from_json

from vibe_prefect.core.models import WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.run_values import DEFAULT_ZONE, RunFacts, known_zone
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.engine.inputs.operator_roots import OperatorRoots
from vibe_prefect.engine.inputs.option_group import ungrouped
from vibe_prefect.engine.inputs.plan_store import KeptPlan, kept_plan, recorded_data
from vibe_prefect.engine.records.records import record_namespace
from vibe_prefect.engine.records.storage import RecordStore
from vibe_prefect.engine.server.ui_pages import run_page
from vibe_prefect.errors import PlanError, PlanRunError, UnknownRunError, UsageError
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan, Simulate, compile_plan, resolve_policy
from vibe_prefect.plan.graph import ID_FORM
from vibe_prefect.plan.graph_checks import build_graph
from vibe_prefect.plan.node_tools import tool_of
from vibe_prefect.reporting.report_making import RunIdentity
from vibe_prefect.results import ExecutionStatus, resume_command
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.registry import ToolRegistry

ZONE_LABEL = "vibe-prefect.timezone"
"""Label of a flow run with the time zone of the schedule that started it."""

CONTENTS_LABEL = "vibe-prefect.contents"
"""Label of a flow run with the hashes of what its nodes read from outside, by node id, as JSON."""

CHILD_PREFIX = "vibe-prefect-child-of:"
"""Prefix of the tag of a run that executes a branch of a plan for another run, before the id of that run."""

HISTORY_LABEL = "vibe-prefect.history"
"""Label of a flow run with the attempts before it in an adaptive run, as JSON."""

SHARED_FOLDER = "shared"
"""Name of the output folder of all runs of a plan that share their records."""

_STATUSES = {
    StateType.COMPLETED: ExecutionStatus.COMPLETED,
    StateType.FAILED: ExecutionStatus.FAILED,
    StateType.CRASHED: ExecutionStatus.FAILED,
    StateType.CANCELLED: ExecutionStatus.FAILED,
    StateType.CANCELLING: ExecutionStatus.RUNNING,
    StateType.RUNNING: ExecutionStatus.RUNNING,
}


@dataclass(frozen=True)
class PlanOutline:
    """Outline of a plan for lists, without its texts."""

    plan_id: str | None
    """The plan's id; `None` where it is damaged."""

    nodes: frozenset[str] | None
    """Ids of its nodes, without those that run for the items of lists; `None` where they are damaged, or in a file that
    was not read."""

    kept: KeptPlan | None = None
    """The reference to a plan beside the records; `None` for a plan elsewhere."""

    @classmethod
    def of(cls, value: object) -> PlanOutline:
        """Return the outline of a parameter `plan`, without checking it."""
        if isinstance(value, PlanOutline):
            return value
        if reference := kept_plan(value):
            return cls(reference.plan_id, None, reference)
        if not isinstance(value, dict):
            return cls(None, None)
        plan = cast("dict[str, Any]", value)
        id = plan.get("id")
        return cls(id if isinstance(id, str) else None, _node_ids(plan.get("root_nodes")))


class RunParameters(BaseModel):
    """Parameters of a run of a plan.

    Anybody may start a run with anything, so a value of another type counts as missing.
    """

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    plan: Any = None
    """The plan's data, a reference to a plan beside the records, or the name or path that the run was given; see
    `PastRun.plan`."""

    resume_from: str | None = None
    """Name or id of the run that it resumes."""

    reuse: Literal["run", "plan"] = "run"
    """Records that it may reuse: `run` for those of its resume chain, `plan` for those of all runs of the plan."""

    concurrency: int | None = None
    """Largest number of nodes at once; `None` for no limit, or where it is not given."""

    simulate: bool = False
    """Whether every node is simulated."""

    input_root: str | None = None
    """The folder that tools may read from; `None` for that of the settings."""

    output: str | None = None
    """The folder for the outputs of runs; `None` for that of the settings."""

    inputs: dict[str, Any] = {}
    """Values of the plan's inputs, as they were given."""

    run_on: str | None = None
    """Placement of all its nodes; `None` where the plan decided."""

    budget_usd: float | None = None
    """US dollars that it may spend; `None` for no limit."""

    max_tokens: int | None = None
    """Tokens that it may use; `None` for no limit."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        try:
            return check(value)
        except ValidationError:
            return cls.model_fields[info.field_name].default


@dataclass(frozen=True)
class PastRun:
    """A run of a plan that the server has on record, whether it has ended or not."""

    id: UUID
    """Id of the flow run."""

    name: str
    """Name of the flow run."""

    parameters: RunParameters
    """Parameters that it was started with."""

    state: str
    """Prefect's name of its state, such as `Completed`."""

    state_type: StateType | None
    """Type of its state."""

    message: str | None
    """Message of its state."""

    created: datetime
    """Time of its creation; a schedule creates the runs of many days at once."""

    due: datetime
    """Planned start."""

    started: datetime | None
    """Start; `None` before."""

    ended: datetime | None
    """End; `None` before."""

    seconds: float
    """Seconds that it has run, over all tries."""

    bounded: bool
    """Whether somebody else than the operator may have chosen its parameters: it has a deployment, or another flow
    around it."""

    tags: frozenset[str] = frozenset()
    """Tags of the flow run."""

    zone: str | None = None
    """Time zone of the schedule that started it; `None` without one."""

    contents: Mapping[str, str] = field(default_factory=dict[str, str])
    """Hashes of what its nodes read from outside, by the ids of the nodes that ask for it."""

    root: PastRun | None = None
    """The first run of its resume chain; `None` where it resumes none, or where that run is unknown or not read."""

    root_id: UUID | None = None
    """The id of that run, also where only that is known."""

    @classmethod
    def of(cls, flow_run: FlowRun) -> PastRun:
        """Read a flow run, whatever its parameters hold, without its root."""
        state = flow_run.state
        created = flow_run.created or flow_run.expected_start_time or datetime.now(UTC)
        return cls(
            id=flow_run.id,
            name=flow_run.name,
            parameters=RunParameters.model_validate(ungrouped(flow_run.parameters)),
            state=flow_run.state_name or "Unknown",
            state_type=state.type if state else None,
            message=state.message if state else None,
            created=created,
            due=flow_run.expected_start_time or created,
            started=flow_run.start_time,
            ended=flow_run.end_time,
            seconds=flow_run.total_run_time.total_seconds(),
            zone=known_zone(flow_run.labels.get(ZONE_LABEL)),
            contents=_noted_contents(flow_run.labels.get(CONTENTS_LABEL)),
            bounded=flow_run.deployment_id is not None or flow_run.parent_task_run_id is not None,
            tags=frozenset(flow_run.tags),
        )

    @property
    def over(self) -> bool:
        """Whether its state is final."""
        return self.state_type in TERMINAL_STATES

    @property
    def is_child(self) -> bool:
        """Whether it executes a branch of a plan for another run, which reports all of it."""
        return any(tag.startswith(CHILD_PREFIX) for tag in self.tags)

    @property
    def suspended(self) -> bool:
        """Whether it waits for a person's answer, with no process that executes it."""
        return self.state_type is StateType.PAUSED

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state_type in (None, StateType.SCHEDULED, StateType.PENDING)

    @property
    def status(self) -> ExecutionStatus:
        """Its state in this package's words; a run that was cancelled or crashed has failed."""
        return _STATUSES.get(self.state_type, ExecutionStatus.PENDING) if self.state_type else ExecutionStatus.PENDING

    @property
    def completed(self) -> bool:
        """Whether it completed."""
        return self.state_type is StateType.COMPLETED

    @property
    def failed_nodes(self) -> bool:
        """Whether its state says that nodes failed."""
        return self.state_type is StateType.FAILED and PlanRunError.says(self.message)

    @property
    def last_active(self) -> datetime:
        """Latest known time of its life: its end, its start or its creation."""
        return self.ended or self.started or self.created

    @property
    def first(self) -> PastRun | None:
        """The first run of its resume chain, itself where it resumes none; `None` where that run is unknown."""
        return self.root if self.parameters.resume_from else self

    @property
    def shares(self) -> bool:
        """Whether it shares its records with the other runs of the plan."""
        return self.parameters.reuse == "plan"

    @property
    def outline(self) -> PlanOutline:
        """The outline of its plan."""
        return PlanOutline.of(self.parameters.plan)

    @property
    def plan_id(self) -> str | None:
        """The id of its plan; `None` where it is unknown. It is not checked: a caller may have chosen any text."""
        return self.outline.plan_id

    @cached_property
    def plan(self) -> WorkflowPlan | None:
        """Its plan; `None` where its parameters hold none, or none that is valid. See `with_plan`."""
        try:
            return WorkflowPlan.model_validate(self.parameters.plan)
        except ValidationError:
            return None

    @cached_property
    def compiled(self) -> CompiledPlan:
        """Its plan, compiled with this machine's tools; with its structure alone where they cannot run it.

        Raises:
            UnknownRunError: It has no plan.
            PlanError: The plan does not hang together.
        """
        if self.plan is None:
            state = f"it is {self.state}{f': {self.message}' if self.message else ''}"
            raise UnknownRunError(f"the run {self.name!r} has no plan among its parameters; {state}")
        mode = Simulate.ALL if self.parameters.simulate else Simulate.NEVER
        try:
            return self.valued(compile_plan(self.plan, tools=configured_registry(), simulate=mode))
        except PlanError:
            return _structure(self.plan)

    def valued(self, compiled: CompiledPlan) -> CompiledPlan:
        """Return a plan with this run's inputs, as far as they fit, its contents, and the facts of its resume chain."""
        compiled = compiled.with_known_inputs(self.parameters.inputs)
        compiled = compiled.for_run(self.facts) if compiled.names_facts else compiled
        return compiled.with_contents(self.contents) if compiled.fresh_nodes else compiled

    @property
    def facts(self) -> RunFacts:
        """The facts of the first run of its resume chain, of this one where that is unknown."""
        first = self.first or self
        return RunFacts(first.name, first.due, first.zone or DEFAULT_ZONE)

    @property
    def record_namespace(self) -> str:
        """Namespace of its records; where its resume chain is broken, by the oldest known id of the chain."""
        plan_id = self.plan_id
        shared = self.shares and plan_id is not None and ID_FORM.fullmatch(plan_id) is not None  # it is part of a path
        return record_namespace(self.root_id or self.id, plan_id or "", shared=shared)

    @property
    def roots(self) -> OperatorRoots | None:
        """Bounds of its parameters, to use them again; `None` for a run that code or the command line started."""
        return OperatorRoots(load_settings()) if self.bounded else None

    @property
    def output(self) -> str | None:
        """The folder that contains its own output folder.

        `None` where it is bounded and names a folder outside the operator's: the content may not be the run's.
        """
        output, roots = self.named_output, self.roots
        try:
            return output if roots is None else roots.folder("output", output)
        except UsageError:
            return None

    @property
    def named_output(self) -> str:
        """The folder that it names for its output, allowed or not."""
        return self.parameters.output or load_settings().output

    @property
    def output_name(self) -> str:
        """Name of the output folder of the resume chain that begins with this run: sorts by time, and is unique."""
        # By the end of the id: ids that Prefect makes within a minute begin alike.
        return f"{self.due:%Y-%m-%dT%H%M%S}-{self.id.hex[-8:]}"

    @property
    def output_root(self) -> Path:
        """The folder for its files."""
        output = self.output or load_settings().output
        return run_folder(output, self.plan_id or "", None if self.shares else self.first or self)

    @property
    def identity(self) -> RunIdentity:
        """Identity of the run in its report."""
        return RunIdentity(
            run_id=str(self.id),
            run_name=self.name,
            state=self.state,
            resume_command=None if self.completed else resume_command(self.name),
            output_root=str(self.output_root),
            run_url=run_page(self.id),
            simulated=self.parameters.simulate,
        )

    def owns(self, folder: str) -> bool:
        """Return whether a folder is named, in the end, as the run's own output folder, perhaps on another machine."""
        try:
            return Path(folder).is_absolute() and Path(folder).resolve().parts[-2:] == self.output_root.parts[-2:]
        except (OSError, RuntimeError, ValueError):
            return False

    async def with_plan(self, store: RecordStore) -> PastRun:
        """Return this run with the data of its plan, also where the plan is a file beside the records.

        Args:
            store: The store of its records.

        Raises:
            KeptPlanError: The plan's file is missing, or its content is another one.
        """
        return self._with_parameter(await recorded_data(self.parameters.plan, store))

    def outlined(self, nodes: dict[frozenset[str], frozenset[str]] | None = None) -> PastRun:
        """Return this run with the outline of its plan in place of the plan: a thousand plans would fill the memory.

        Args:
            nodes: Nodes of plans seen before, to which those of this one are added: runs of one plan share them.
        """
        outline = self.outline
        if nodes is not None and outline.nodes is not None:
            outline = replace(outline, nodes=nodes.setdefault(outline.nodes, outline.nodes))
        return self.with_outline(outline)

    def with_outline(self, outline: PlanOutline) -> PastRun:
        """Return this run with another outline in place of its plan."""
        return self._with_parameter(outline)

    def _with_parameter(self, plan: object) -> PastRun:
        return replace(self, parameters=self.parameters.model_copy(update={"plan": plan}))


def run_folder(output: str | Path, plan_id: str, first: PastRun | None) -> Path:
    """Return the folder for the outputs of a run.

    Args:
        output: The folder for the outputs of all runs.
        plan_id: The plan's id.
        first: The first run of its resume chain; `None` for the folder that the runs of the plan share.
    """
    return Path(output).resolve() / plan_id / (SHARED_FOLDER if first is None else first.output_name)


def _noted_contents(label: object) -> dict[str, str]:
    """Read the label with the hashes of contents, whatever somebody else may have written there."""
    try:
        noted: object = from_json(label) if isinstance(label, str) else {}
    except ValueError:
        return {}
    items = cast("dict[str, object]", noted).items() if isinstance(noted, dict) else ()
    return {id: content for id, content in items if isinstance(content, str)}


def _node_ids(nodes: Any) -> frozenset[str] | None:
    ids: set[str] = set()
    pending: list[Any] = [nodes]
    while pending:
        part = pending.pop()
        if not isinstance(part, list):
            return None
        for node in cast("list[Any]", part):
            if not isinstance(node, dict) or not isinstance(id := cast("dict[str, Any]", node).get("id"), str):
                return None
            ids.add(id)
            if cast("dict[str, Any]", node).get("for_each") is None:  # else they are templates and not nodes of a run
                pending.append(cast("dict[str, Any]", node).get("children") or [])
    return frozenset(ids)


def _structure(plan: WorkflowPlan) -> CompiledPlan:
    """Return a plan for showing only: no tool is looked up, and no node has a key."""
    graph = build_graph(plan)
    policy, tools = resolve_policy(), ToolRegistry()
    nodes = {
        id: CompiledNode(
            item.node, "", _backing(item.node, tools), tool_of(item.node, tools), policy, item.dependencies
        )
        for id, item in graph.nodes.items()
    }
    return CompiledPlan(plan, graph, nodes, {})


def _backing(node: WorkflowNode, tools: ToolRegistry) -> Backing:
    only_children = node.type is WorkflowNodeType.COMPOSITE and tool_of(node, tools) is None
    return Backing.COMPOSITE if only_children else Backing.HANDLER
