"""Plans: the vibe, the nodes and their execution policy.

The classes take the output of the reference's own `WorkflowPlan.model_dump_json()`. They hold values and check the
shape of single fields; whether the nodes fit together is checked in one place, `vibe_prefect.plan.graph_checks`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from vibe_prefect.text.documented import Documented

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration in seconds."""


_SCHEMA_KEYWORDS: dict[str, Any] = {
    "type": {"enum": ["string", "integer", "number", "boolean", "array", "object"]},
    "title": {"type": "string", "description": "Label of the field in a form."},
    "description": {"type": "string", "description": "Text beside the field."},
    "default": {"description": "Value of a run that gives none; without a default the input is required."},
    "enum": {"type": "array", "description": "The values that it may have."},
    "items": {"type": "object", "description": "JSON Schema of the items of an array."},
    "examples": {"type": "array"},
}
"""Keywords of JSON Schema that editors propose for an input; any other is taken too."""

InputSchema = Annotated[dict[str, Any], Field(json_schema_extra={"title": "Input", "properties": _SCHEMA_KEYWORDS})]
"""JSON Schema of an input."""


class Vibe(Documented):
    """A wish for content, in the words of the person who has it."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    description: str
    """The wish itself."""

    style: str | None = None
    """Style of the result, such as `dark, atmospheric`."""

    constraints: list[str] = Field(default_factory=list[str])
    """Requirements, such as `under 60 seconds`."""

    domain: str | None = None
    """The field it belongs to, such as `visual`."""

    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Anything else that travels with the wish."""


class WorkflowNodeType(StrEnum):
    """Kinds of work that nodes do."""

    ANALYZE = "analyze"
    GENERATE = "generate"
    TRANSFORM = "transform"
    VALIDATE = "validate"
    COMPOSITE = "composite"


class NodeResources(Documented):
    """What a node needs of the machine that it runs on. Placements on Dask and Ray choose a worker by it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    cpu: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Number of processor cores."""

    gpu: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Number of GPUs; a part of one where the placement can share it."""

    memory: Annotated[ByteSize, Field(gt=0)] | None = None
    """Bytes of memory, such as `8GB` or `500MiB`."""


class NodePolicy(Documented):
    """Execution policy of a node. A field left out is inherited: from the plan, then from the node type's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    retries: Annotated[int, Field(ge=0, le=50)] | None = None
    """Number of further attempts at a failing node. Default: 0."""

    retry_delay: Seconds | None = None
    """Seconds before the first retry. Default: 1."""

    retry_backoff: Annotated[float, Field(ge=1, le=10)] | None = None
    """Factor from one retry delay to the next; no delay exceeds 600 s. Default: 2."""

    retry_jitter: Annotated[float, Field(ge=0, le=1)] | None = None
    """Largest random deviation of a delay, as a part of it, so that many nodes do not retry at once. Default: 0.3."""

    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds that one attempt may take. Default: no limit."""

    limits: tuple[str, ...] | None = None
    """Names of Prefect global concurrency limits; one slot of each is held while the node runs. They must exist."""

    tags: tuple[str, ...] | None = None
    """Prefect tags of the task run, besides the node type and the tool. Prefect's tag-based limits apply to them."""

    cache: Literal["default", "recompute", "disable"] | None = None
    """`recompute` runs the node again in every run, and its dependents with it; `disable` keeps no record of it.
    Default: `default`, what finished is kept."""

    fresh: Literal["content"] | None = None
    """`content` puts a hash of what the tool reads from outside into the node's key: on resume, a changed file or page
    runs the node again, and what depends on it. For tools that can say it: `read_text` and `http_fetch`."""

    run_on: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Placement where the node runs, one that the operator has named, or `local`. Inherited from the parent node, too.
    Default: `local`, in the run's own process."""

    resources: NodeResources | None = None
    """What the node needs of the machine that it runs on. Inherited from the parent node, too."""

    variation: str | int | None = None
    """Another value asks for another result of the same node: it enters the node's key and nothing else."""


class OnError(Documented):
    """Output of a node in case that it fails: the output of another node, or a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    use: str | None = None
    """Id of one of its dependencies, whose output stands in."""

    value: Any = None
    """Value that stands in, as it is written; templates in it are not filled in."""


class BestOf(Documented):
    """Variations of a node's output, of which the one with the best score counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    n: Annotated[int, Field(ge=2, le=20)]
    """Number of variations. Each is paid for, and so is the scoring of each."""

    criteria: list[Any] | None = None
    """Rubric by which the tool `judge` scores them: texts, or mappings with `name`, `description`, `weight`, `min`."""

    tool: str | None = None
    """Tool that scores them in place of `judge`: it returns a number, or a mapping with the number `score`."""

    tool_inputs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Inputs of the tool that scores; templates in them read the variation as `output`."""

    @property
    def scorer(self) -> str:
        """Name of the tool that scores."""
        return self.tool or "judge"


class WorkflowNode(Documented):
    """One step of a plan."""

    model_config = ConfigDict(
        extra="forbid",
        defer_build=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    id: str
    """Unique in the plan: letters, digits, `.`, `_` and `-`, at most 100, the first a letter or a digit."""

    type: WorkflowNodeType = Field(title="Type")
    """Kind of work."""

    description: str
    """Task of the node, for people and as a prompt."""

    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Parameters of the work. `tool` names a registered tool, `tool_inputs` are its inputs."""

    dependencies: list[str] = Field(default_factory=list[str])
    """Ids of the nodes that must complete first, each with everything below it. Their outputs are passed on."""

    optional_dependencies: list[str] = Field(default_factory=list[str])
    """Ids of nodes that must end first, as for a dependency, but may be skipped by a condition: their output is `none`
    then. One that failed still keeps this node from running."""

    when: str | None = Field(default=None, title="Condition")
    """Condition as one template expression, such as `{{ outputs.check.score < 0.8 }}`. Where it yields false, the node
    and what needs it are skipped, which is no failure. It reads outputs of dependencies, inputs and run facts."""

    best_of: BestOf | None = Field(default=None, title="Best of")
    """Variations of a generate node that are made side by side and scored; the best is its output."""

    on_error: OnError | None = Field(default=None, title="Fallback")
    """Output that stands in where the node fails. The node then counts as completed, with a remark, and a resume tries
    it again."""

    children: list[WorkflowNode] = Field(default_factory=list["WorkflowNode"])
    """Nodes that start once this node itself has completed; with `for_each`, the nodes that run for each item."""

    for_each: str | None = None
    """Only on a composite: a template that yields a list, such as `{{ outputs.outline.shots }}`. The children run once
    for each item, and the composite's output is the list of their outputs."""

    item_name: str | None = Field(default=None, alias="as")
    """Name of the item in the templates of the children, such as `shot`. Default: `item`."""

    key: str | None = None
    """With `for_each`: a template that names an item, such as `{{ shot.id }}`; by default its place in the list."""

    max_items: Annotated[int, Field(ge=1, le=20_000)] | None = None
    """With `for_each`: the longest list. Default: 1,000."""

    concurrency: Annotated[int, Field(ge=1)] | None = None
    """With `for_each`: number of items at once. Default: no limit but that of the run."""

    min_completed: Annotated[int, Field(ge=0)] | None = None
    """With `for_each`: number of items that must complete for the composite to complete. Default: all."""

    estimated_duration: Seconds | None = None
    """Expected duration, in seconds."""

    policy: NodePolicy = Field(default=NodePolicy(), title="Policy")
    """Execution policy of the node, where it differs from the plan's."""


class WorkflowPlan(Documented):
    """A tree of nodes that together make what the vibe asks for."""

    model_config = ConfigDict(title="Plan", extra="forbid", defer_build=True)

    id: str
    """Names the plan in runs, records and artifacts; the same form as a node id."""

    source_vibe: Vibe
    """The wish that the plan was made from."""

    inputs: dict[str, InputSchema] = Field(default_factory=dict[str, dict[str, Any]], title="Inputs")
    """Inputs that a run of the plan is given, by name, each as a JSON Schema. One with a `default` may be left out.
    Templates name them, as in `{{ inputs.product }}`."""

    root_nodes: list[WorkflowNode] = Field(default_factory=list[WorkflowNode])
    """The top of the tree, in the author's order."""

    estimated_total_duration: Seconds | None = None
    """Expected duration of the whole plan, in seconds."""

    created_at: str | None = None
    """Time of its creation, ISO 8601."""

    policy: NodePolicy = Field(default=NodePolicy(), title="Policy")
    """Execution policy of its nodes, unless a node has its own."""


def field_names(model: type[BaseModel]) -> list[str]:
    """Return the names that the fields of a model have in a plan's data, in their order."""
    return [field.alias or name for name, field in model.model_fields.items()]
