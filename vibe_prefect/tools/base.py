"""What a tool is: its spec, its result, the base class and what it is given to work with.

The shapes of `ToolSpec`, `ToolResult` and `BaseTool` are the contract's, so that a tool object written for the
reference runs here unchanged, even with another base class: it needs `spec` and `execute`, nothing more.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypedDict, cast, runtime_checkable

import jsonschema
from pydantic import BaseModel, ValidationError, WithJsonSchema

from vibe_prefect.errors import did_you_mean
from vibe_prefect.wording import finding

if TYPE_CHECKING:
    from vibe_prefect.budget import Budget
    from vibe_prefect.models import NodePolicy, Vibe, WorkflowNodeType
    from vibe_prefect.tools.workspace import Workspace

TemplateText = Annotated[str, WithJsonSchema({"type": "string", "format": "jinja"})]
"""An input that is itself a template: it reaches the tool as written instead of being rendered before the call."""


class ToolCategory(StrEnum):
    """What a tool is about."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    SEARCH = "search"
    TRANSFORM = "transform"
    ANALYSIS = "analysis"
    UTILITY = "utility"


@dataclass
class ToolSpec:
    """How a tool presents itself to planners and checks."""

    name: str
    """What a node writes in `parameters.tool`."""

    description: str
    """One sentence on what it does."""

    category: ToolCategory
    """What it is about."""

    input_schema: dict[str, Any]
    """JSON Schema of its inputs (an object)."""

    output_schema: dict[str, Any]
    """JSON Schema of its output."""

    examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Inputs that make sense."""


@dataclass
class ToolResult:
    """What a tool hands back."""

    success: bool
    """Whether it did its work; `False` fails the node."""

    output: Any
    """What it made: JSON data, and a `FileRef` for each file."""

    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """Facts about the making, kept beside the output."""

    error: str | None = None
    """Why it did not succeed."""


class ToolContext(TypedDict, total=False):
    """What a tool is told about the node it works for. The first three keys are the contract's."""

    workflow_context: str
    """The dependencies' texts: `Previous step (<id>):` and the text, a block each, joined by blank lines."""

    node_description: str
    """The node's own description."""

    previous_outputs: Mapping[str, Any]
    """Each dependency's output by its id."""

    node_id: str
    """The node's id."""

    plan_id: str
    """The plan's id."""

    key: str
    """The node's content key; empty where nothing was compiled."""

    node_type: str
    """The node's type."""

    parameters: Mapping[str, Any]
    """The node's parameters without `tool` and `tool_inputs`."""

    vibe: Vibe
    """The wish that the plan was made from."""

    budget: Budget
    """What the run may still spend on models; missing where it has no limit."""

    report_progress: Callable[[float | None, str], None]
    """Tells how far the node's work has come: a part from 0 to 1 or `None`, and a few words; missing where nobody
    listens. Called from the event loop's own thread."""

    workspace: Workspace
    """The folders that this run may read from and write to."""


@runtime_checkable
class Tool(Protocol):
    """What the engine asks of a tool. `BaseTool` is the comfortable way to it."""

    @property
    def spec(self) -> ToolSpec:
        """How the tool presents itself."""
        ...

    async def execute(self, inputs: dict[str, Any], context: Any = None) -> Any:
        """Do the work; returns a `ToolResult` or an object with its attributes."""
        ...


class BaseTool(ABC):
    """Base class for tools that are written as a class."""

    version: str | None = None
    """Changes when the tool's results do. Without one, a hash of the tool's source stands in."""

    input_model: type[BaseModel] | None = None
    """The inputs as a pydantic model, if there is one; they are checked against it rather than the JSON Schema."""

    @property
    @abstractmethod
    def spec(self) -> ToolSpec:
        """How the tool presents itself."""

    @abstractmethod
    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        """Do the work.

        Args:
            inputs: The node's `tool_inputs`, their templates filled in.
            context: What the tool is told about the node.
        """

    default_for: Collection[WorkflowNodeType] = ()
    """Node types that the tool runs where a node names none."""

    default_policy: NodePolicy | None = None
    """How its nodes are executed unless the caller, the plan or the node says otherwise."""

    uses_vibe: bool = False
    """Whether its results depend on the plan's vibe, which is then part of its nodes' keys."""

    def validate_inputs(self, inputs: dict[str, Any]) -> bool:
        """Tell whether the inputs fit the tool's schema. `input_problems` says why they do not."""
        return not input_problems(self, inputs)


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One way in which inputs do not fit a tool."""

    path: tuple[str | int, ...]
    """Where in the inputs: keys and list indices."""

    message: str
    """What was found and what was expected."""


def input_problems(tool: Tool, inputs: dict[str, Any]) -> list[InputProblem]:
    """Return how inputs do not fit a tool, in the order of the inputs; empty when they fit.

    A tool may have a check of its own, `check_inputs`, for what the types of its inputs cannot say.
    """
    model = cast("type[BaseModel] | None", getattr(tool, "input_model", None))
    own: Callable[[Mapping[str, Any]], Sequence[InputProblem]] | None = getattr(tool, "check_inputs", None)
    found = _model_problems(model, inputs) if model is not None else _schema_problems(tool.spec.input_schema, inputs)
    return [*found, *(own(inputs) if own is not None else ())]


def _model_problems(model: type[BaseModel], inputs: dict[str, Any]) -> list[InputProblem]:
    try:
        model.model_validate(inputs)
    except ValidationError as error:
        return [_model_problem(model, dict(detail)) for detail in error.errors(include_url=False)]
    return []


def _model_problem(model: type[BaseModel], detail: dict[str, Any]) -> InputProblem:
    path = cast("tuple[str | int, ...]", detail["loc"])
    if detail["type"] == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), model.model_fields)
        known = ", ".join(sorted(model.model_fields)) or "none"
        return InputProblem(path, f"unknown input{hint or f'; known inputs: {known}'}")
    if detail["type"] == "missing":
        return InputProblem(path, "missing; the tool needs it")
    return InputProblem(path, finding(detail))


def _schema_problems(schema: Mapping[str, Any], inputs: dict[str, Any]) -> list[InputProblem]:
    validator = jsonschema.Draft202012Validator(schema)
    errors = cast("list[jsonschema.ValidationError]", list(validator.iter_errors(inputs)))  # pyright: ignore[reportUnknownMemberType]
    return [InputProblem(tuple(error.absolute_path), error.message) for error in errors]


def tool_version(tool: Tool) -> str:
    """Return what stands for a tool's behaviour in keys: its version, else a hash of its source."""
    stated = getattr(tool, "version", None)
    return str(stated) if stated is not None else _source_hash(getattr(tool, "source_object", type(tool)))


@lru_cache(maxsize=1024)
def _source_hash(subject: Any) -> str:
    try:
        source = inspect.getsource(subject)
    except (OSError, TypeError):  # made in a REPL or by exec: the name is all there is
        source = f"{subject.__module__}.{subject.__qualname__}"
    return f"source-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
