"""Documents about plans that have not run: their differences, forecasts, edits, and those that a model has written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vibe_prefect.cli.display.document import Document, Part, RunReference


class PlanSide(Part):
    """A plan of a comparison."""

    name: str
    plan_id: str


class ChangedField(Part):
    """A field that differs."""

    path: str
    old: str | None
    new: str | None
    in_key: bool
    """Whether the node runs again because of it."""


class MovedNode(Part):
    """A node with another parent; `null` is the top of the plan."""

    old: str | None
    new: str | None


class DiffDocument(Document):
    """`diff`: differences of two plans, and the nodes that resuming the first with the second would run."""

    kind: Literal["diff"] = "diff"
    a: PlanSide
    b: PlanSide
    plan: list[ChangedField]
    added: list[str]
    removed: list[str]
    changed: dict[str, list[ChangedField]]
    moved: dict[str, MovedNode]
    through_dependencies: list[str]
    executes: dict[str, str]
    """Nodes that would run, each with the reason."""

    total_nodes: int
    gates: dict[str, str] = Field(default_factory=dict[str, str])
    """Changes of gates of the first plan that may have weakened them: removed, changed, or no longer before nodes."""


class PlannedNode(Part):
    """Forecast of a node."""

    type: str
    tool: str | None
    action: str
    reason: str
    estimated_seconds: float | None
    key: str
    """Content key of the node, hexadecimal."""


class PlannedSummary(Part):
    """A dry run in numbers."""

    total_nodes: int
    run: int
    reuse: int
    skip: int
    estimated_seconds: float
    without_estimate: int


class PlannedPath(Part):
    """The longest chain of nodes that would run."""

    nodes: list[str]
    estimated_seconds: float
    without_estimate: int


class EarlierCosts(Part):
    """Cost of the same calls in earlier runs."""

    calls: int
    tokens: int
    cost_usd: float | None
    run_names: list[str]


class PlannedCosts(Part):
    """Possible cost of the calls of models and paid tools."""

    calls: int
    tools: list[str]
    most_tokens: int | None
    most_cost_usd: float | None
    earlier_runs: EarlierCosts | None


class KeyPlace(Part):
    """Place of a tool's key."""

    place: str
    set: bool | None
    needed: bool


class PlannedTool(Part):
    """A tool of the nodes that would run."""

    version: str
    nodes: int
    keys: list[KeyPlace]
    lack: str | None
    """Reason why the run would stop before its first node."""


class DryRunDocument(Document):
    """`run --dry-run`: forecast of a run."""

    kind: Literal["dry-run"] = "dry-run"
    plan_id: str
    simulated: bool
    resume_from: RunReference | None
    summary: PlannedSummary
    nodes: dict[str, PlannedNode]
    groups: list[list[str]]
    critical_path: PlannedPath
    costs: PlannedCosts | None
    tools: dict[str, PlannedTool]
    not_looked_up: str | None
    unknown_lists: dict[str, int | None] = Field(default_factory=dict[str, int | None])
    """Composites whose lists are not known before the run, each with the number of items that it had the last time;
    each of their nodes is counted once."""


class PlanDocument(Document):
    """`plan`: a plan that a model has written or edited, and the forecast of a run of it."""

    kind: Literal["plan"] = "plan"
    plan_id: str
    plan_file: str | None
    """The file that it was written to."""

    text: str
    """The plan as a plan file has it, YAML with a comment why each node is there."""

    model: str
    answers: int
    """Number of answers of the model."""

    tokens: int | None
    cost_usd: float | None
    """Price of the answers in US dollars; `null` where it is not known."""

    knowledge: list[str]
    """Names of the notes that the model was given."""

    diff: DiffDocument | None
    """Differences from the plan that was edited; `null` for a new plan."""

    forecast: DryRunDocument


class PlanEdit(Part):
    """Edit of a node, or a node that was added."""

    node_id: str
    field: str | None
    """Path of the field, such as `policy.timeout`; null for an added node."""

    value: Any
    """New value of the field; the data of an added node."""

    reason: str


class OpenChange(Part):
    """Suggested change that was not made."""

    node_id: str
    change: str
    reason: str


class ReplanDocument(Document):
    """`replan`: the edits of a run's plan, the differences, and the forecast of resuming the run with it."""

    kind: Literal["replan"] = "replan"
    run: RunReference
    model: str | None
    """The model that replanned; null for a replan by rule."""

    edits: list[PlanEdit]
    open: list[OpenChange]
    diff: DiffDocument
    forecast: DryRunDocument
    plan_file: str | None
    """The file that the edited plan was written to."""
