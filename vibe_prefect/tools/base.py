"""Tools: spec, result, base class, and the context that they work with.

The shapes of `ToolSpec`, `ToolResult` and `BaseTool` are the contract's, so that a tool object written for the
reference runs here unchanged, even with another base class: it needs `spec` and `execute`, nothing more.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypedDict, cast, runtime_checkable

from pydantic import BaseModel, Field, ValidationError, WithJsonSchema

from vibe_prefect.core.models import NodePolicy
from vibe_prefect.errors import Finding, ToolDefinitionError, did_you_mean
from vibe_prefect.schemas.keywords import SchemaError
from vibe_prefect.schemas.schema import SCHEMA_PROBLEM, mismatches
from vibe_prefect.text.pydantic_errors import advised_finding

if TYPE_CHECKING:
    from vibe_prefect.core.approval import Answer, Question
    from vibe_prefect.core.budget import Budget, Spending
    from vibe_prefect.core.models import Vibe, WorkflowNodeType
    from vibe_prefect.provenance import ModelCall
    from vibe_prefect.tools.planned_calls import Preflight
    from vibe_prefect.tools.secrecy.key_sources import KeySource
    from vibe_prefect.tools.workspace import Workspace

TemplateText = Annotated[str, WithJsonSchema({"type": "string", "format": "jinja"})]
"""An input that is itself a template: it reaches the tool as written instead of being rendered before the call."""

INPUT_PATH = "input-path"
OUTPUT_PATH = "output-path"
OUTPUT_FOLDER = "output-folder"
NODE_ID = "{{ node_id }}"
"""Stands for the node's id in the default of an output path."""

InputPath = Annotated[str, Field(json_schema_extra={"format": INPUT_PATH})]
"""An input that names files which the tool reads, below the run's input folder.

A plan that a model writes may name none but those that the person who asks for it has allowed.
"""

OutputPath = Annotated[str, Field(json_schema_extra={"format": OUTPUT_PATH})]
"""An input that names the file which the tool writes, below the run's output folder.

No two nodes of a plan may name the same one, so a default holds the node's id, such as `"{{ node_id }}.png"`.
"""

OutputFolder = Annotated[str, Field(json_schema_extra={"format": OUTPUT_FOLDER})]
"""Likewise an input that names a folder which the tool fills with files of its own."""

PAID_POLICY = NodePolicy(retries=3, retry_delay=2.0)
"""Policy of nodes on a model, or on a provider of pictures or speech, unless the plan says otherwise. What is
final, such as a bad key, a refused request or a gate that did not pass, is not tried again whatever a policy says."""


class ToolCategory(StrEnum):
    """Subjects of tools."""

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
    """Specification of a tool for planners and checks."""

    name: str
    """Name that nodes write in `parameters.tool`."""

    description: str
    """One sentence on what it does."""

    category: ToolCategory
    """Subject of the tool."""

    input_schema: dict[str, Any]
    """JSON Schema of its inputs (an object)."""

    output_schema: dict[str, Any]
    """JSON Schema of its output."""

    examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Inputs that make sense."""


@dataclass
class ToolResult:
    """Result of a tool's call."""

    success: bool
    """Whether it did its work; `False` fails the node."""

    output: Any
    """Output: JSON data, and a `FileRef` for each file."""

    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """Facts about the making, kept beside the output."""

    error: str | None = None
    """Reason why it did not succeed."""


class AskPerson(Protocol):
    """Asks a person about what the dependencies of a node made."""

    async def __call__(self, question: Question, hours: float | None) -> Mapping[str, Answer]:
        """Return the answer about each item.

        Args:
            question: The question.
            hours: Hours until the question's default answer counts; `None` to wait for as long as it takes.

        Raises:
            AnswerAwaitedError: Nobody has answered yet.
        """
        ...


class ToolContext(TypedDict, total=False):
    """Context of a tool's call: the node that it works for. The first three keys are the contract's."""

    workflow_context: str
    """The dependencies' texts: `Previous step (<id>):` and the text, a block each, joined by blank lines."""

    node_description: str
    """The node's own description."""

    absent: tuple[str, ...]
    """Ids of the optional dependencies that a condition skipped: templates read their outputs as `none`."""

    variation: int
    """Number of the variation, from 1, of a node with `best_of`; missing for any other."""

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

    inputs: Mapping[str, Any]
    """The run's inputs that the node names, by name; missing where it names none."""

    run: Mapping[str, str]
    """The facts of the run that the node names, such as `date`; missing where it names none."""

    lists: Mapping[str, tuple[str, ...]]
    """Names of the items of each dependency whose output is the list of a composite with `for_each`, by its id; missing
    where there is none."""

    items: Mapping[str, Any]
    """The items of lists that the node runs for and names, by the names that its plan gives them; missing where it
    names none."""

    budget: Budget
    """Budget of the run; missing where there is no limit. `budget.paid_call` makes a call within it."""

    report_progress: Callable[[float | None, str], None]
    """Reports how far the node's work has come: a part from 0 to 1 or `None`, and a few words; missing where nobody
    listens. Called from the event loop's own thread."""

    note_model_call: Callable[[ModelCall], None]
    """Notes a call to a model in the node's provenance, secrets and all: they are taken out when it is kept. Missing
    where nobody asks. `noted_call` calls it however the call ends."""

    ask: AskPerson
    """Asks a person, and returns the answers by item; missing where nobody can be asked, as in an offline run."""

    workspace: Workspace
    """The folders that this run may read from and write to."""


@runtime_checkable
class Tool(Protocol):
    """Interface that the engine needs of a tool. Deriving from `BaseTool` provides it."""

    @property
    def spec(self) -> ToolSpec:
        """Specification of the tool."""
        ...

    async def execute(self, inputs: dict[str, Any], context: Any = None) -> Any:
        """Do the work; returns a `ToolResult` or an object with its attributes."""
        ...


class BaseTool(ABC):
    """Base class for tools that are written as a class.

    A class attribute, or an attribute of the tool, with the name of a field of `ToolTraits` states that trait.
    """

    @property
    @abstractmethod
    def spec(self) -> ToolSpec:
        """Specification of the tool."""

    @abstractmethod
    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        """Do the work.

        Args:
            inputs: The node's `tool_inputs`, their templates filled in.
            context: Facts about the node and its run.
        """

    def validate_inputs(self, inputs: dict[str, Any]) -> bool:
        """Tell whether the inputs fit the tool's schema. `input_problems` says why they do not."""
        return not input_problems(self, inputs)


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One way in which inputs do not fit a tool."""

    path: tuple[str | int, ...]
    """Path within the inputs: keys and list indices."""

    message: str
    """Text: what was found and what was expected."""

    of_dependencies: bool = False
    """Whether what the node depends on is at fault rather than an input; the path is empty then."""

    hint: str | None = None
    """Remedy, as it also stands in the message."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Facts about a node that another one depends on, known before the run."""

    tool: Tool | None
    """The tool that runs it; `None` where no tool does, or it is not known."""

    is_composite: bool = False
    """Whether its children do the work, so that it makes nothing itself."""


UNKNOWN_DEPENDENCIES: Mapping[str, Dependency] = MappingProxyType({})
"""Stands for the dependencies of a node at the call of its tool, where a check need not know them."""

PlanCheck = Callable[[Mapping[str, Any], Mapping[str, Dependency]], Sequence[InputProblem]]
"""Finds what is certain from a plan alone: why a tool cannot work with a node's inputs, or on what it depends on.

It is given the inputs as far as the plan has them, templates not filled in, and the node's dependencies by id. At the
call it is given the filled-in inputs of a call that did not fit, and `UNKNOWN_DEPENDENCIES`.
"""


ContentHash = Callable[[Mapping[str, Any], ToolContext], Awaitable[str]]
"""Reads what a call would read from outside, and returns its hash.

It is given the inputs, templates filled in, and the context of the node. An exception says why nothing can be read.
"""


@dataclass(frozen=True)
class ToolTraits:
    """Facts that a tool may state about itself besides its spec; each has a default."""

    version: str | None = None
    """Changes when the tool's results do. Without one, a hash of the tool's source stands in."""

    source_object: Any = None
    """The function or class whose source that is; the tool's class by default."""

    input_model: type[BaseModel] | None = None
    """The inputs as a pydantic model, if there is one; they are checked against it rather than the JSON Schema."""

    default_for: Collection[WorkflowNodeType] = ()
    """Node types that the tool runs where a node names none."""

    default_policy: NodePolicy | None = None
    """Policy of its nodes unless the caller, the plan or the node says otherwise."""

    default_inputs: Callable[[str, Mapping[str, Any]], dict[str, Any]] | None = None
    """Builds inputs from the node's description and the inputs as written; it is a template where it becomes one.
    `None` where the description fills no input."""

    output_schema_for: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Builds the JSON Schema of its output from the inputs as written; `None` where these do not change it."""

    uses_vibe: bool = False
    """Whether its results depend on the plan's vibe, which is then part of its nodes' keys."""

    check_plan: PlanCheck | None = None
    """Finds what the types of the inputs cannot say, and what is certain from the plan alone."""

    preflight: Preflight | None = None
    """Finds what takes a library or a server to find out, when a run begins: why calls that it will make must fail."""

    content_hash: ContentHash | None = None
    """Returns a hash of what a call would read from outside, for `policy.fresh`; `None` where the tool cannot say."""

    missing_extra: str | None = None
    """The command that installs what the tool lacks on this machine; `None` when it can run."""

    missing_setting: str | None = None
    """Setting that its operator has to make before it can run; `None` when it can."""

    key_sources: tuple[KeySource, ...] = ()
    """Places of the keys that it needs."""

    most_cost: Callable[[Mapping[str, Any]], Spending] | None = None
    """Returns the most that one call can cost, from the node's `tool_inputs` as written, for forecasts; a template in
    them is not filled in yet. `None` where a call costs nothing."""

    model_limits: Any = None
    """Limits and prices of one call of a language model, for forecasts; `None` where the tool calls none."""

    price_setting: str | None = None
    """The setting that says what one call costs; `None` where a call costs nothing, or a public list says it."""

    @classmethod
    def of(cls, tool: Tool | None) -> Self:
        """Read the traits that a tool states as attributes; a tool of another package may state none."""
        return cls(**{name: getattr(tool, name) for name in TRAITS if hasattr(tool, name)})

    @property
    def lacks(self) -> tuple[str, ...]:
        """Lacks that keep the tool from running, each with its remedy, to be read after `needs`."""
        extra = (f"more than is installed: {self.missing_extra}",) if self.missing_extra else ()
        setting = (f"a setting: {self.missing_setting}",) if self.missing_setting else ()
        return (*extra, *setting, *(f"a key: {source.lack}" for source in self.key_sources if source.lack))


TRAITS = tuple(field.name for field in fields(ToolTraits))
"""Names of all traits."""

for _trait in fields(ToolTraits):
    setattr(BaseTool, _trait.name, _trait.default)


def refuse_trait(name: str, tool: str) -> None:
    """Raise the error for the name of a trait that does not exist.

    Args:
        name: The name as it was written.
        tool: The tool's name.

    Raises:
        ToolDefinitionError: Always.
    """
    unknown = f"tool {tool!r}: no trait is named {name!r}{did_you_mean(name, TRAITS)}"
    raise ToolDefinitionError(f"{unknown}; a tool can state {', '.join(sorted(TRAITS))}")


def input_problems(
    tool: Tool,
    inputs: dict[str, Any],
    dependencies: Mapping[str, Dependency] | None = None,
    traits: ToolTraits | None = None,
) -> list[InputProblem]:
    """Return how inputs do not fit a tool, in the order of the inputs; empty when they fit.

    Args:
        tool: The tool; it may have a check of its own, see `PlanCheck`.
        inputs: The inputs.
        dependencies: What the node depends on, by id, where the check is made before a run.
        traits: The tool's traits, where they are known already.
    """
    traits = traits or ToolTraits.of(tool)
    model, check = traits.input_model, traits.check_plan
    known = UNKNOWN_DEPENDENCIES if dependencies is None else dependencies
    problems = _model_problems(model, inputs) if model is not None else _schema_problems(tool.spec.input_schema, inputs)
    return problems if check is None else [*problems, *check(inputs, known)]


@dataclass(frozen=True, slots=True)
class InputNames:
    """Names of a tool's inputs by what its schema says of them, to be read once for all nodes that it runs."""

    raw: frozenset[str] = frozenset()
    """Inputs that are templates for the tool itself and are not filled in before the call."""

    paths: frozenset[str] = frozenset()
    """Paths of files that it writes."""

    folders: frozenset[str] = frozenset()
    """Paths of folders that it writes."""

    defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    """Defaults of these paths and folders as written, by input."""

    sources: frozenset[str] = frozenset()
    """Paths of files that it reads."""

    @property
    def outputs(self) -> frozenset[str]:
        """The paths and the folders."""
        return self.paths | self.folders

    @classmethod
    def of(cls, tool: Tool | None) -> Self:
        """Read the schema of a tool's inputs; an input counts also where it may be something else than a path."""
        if tool is None:
            return cls()
        properties = cast("dict[str, Any]", tool.spec.input_schema.get("properties", {}))
        raw, paths, folders, sources = (
            frozenset(name for name, schema in properties.items() if _has_format(schema, form))
            for form in ("jinja", OUTPUT_PATH, OUTPUT_FOLDER, INPUT_PATH)
        )
        defaults = {name: properties[name].get("default") for name in properties if name in paths | folders}
        written = {name: path for name, path in defaults.items() if isinstance(path, str)}
        return cls(raw, paths, folders, written, sources)

    def default_outputs(self, node_id: str) -> dict[str, str]:
        """Return where the tool writes when its node does not say: the defaults of its output paths, by input."""
        return {name: path.replace(NODE_ID, node_id) for name, path in self.defaults.items()}


def _has_format(schema: Any, name: str) -> bool:
    if not isinstance(schema, dict):
        return False
    schema_fields = cast("dict[str, Any]", schema)
    return schema_fields.get("format") == name or any(
        _has_format(option, name) for option in schema_fields.get("anyOf", ())
    )


def _model_problems(model: type[BaseModel], inputs: dict[str, Any]) -> list[InputProblem]:
    try:
        # As `model_validate` does with all its options left out; reading these takes a third of the time.
        model.__pydantic_validator__.validate_python(inputs)
    except ValidationError as error:
        return [_model_problem(model, dict(detail)) for detail in error.errors(include_url=False)]
    return []


def _model_problem(model: type[BaseModel], detail: dict[str, Any]) -> InputProblem:
    path = cast("tuple[str | int, ...]", detail["loc"])
    if detail["type"] == SCHEMA_PROBLEM:
        return InputProblem((*path, *detail["ctx"]["path"]), detail["ctx"]["message"])
    if detail["type"] == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), model.model_fields)
        names = ", ".join(sorted(model.model_fields)) or "none"
        unknown = Finding.advised("unknown input", hint or f"known inputs: {names}")
        return InputProblem(path, unknown.message, hint=unknown.hint)
    if detail["type"] == "missing":
        return InputProblem(path, "missing; the tool needs it")
    finding = advised_finding(detail)
    return InputProblem(path, finding.message, hint=finding.hint)


def _schema_problems(schema: Mapping[str, Any], inputs: dict[str, Any]) -> list[InputProblem]:
    try:
        return [InputProblem(misfit.path, misfit.message) for misfit in mismatches(schema, inputs)]
    except SchemaError as error:
        return [InputProblem((), f"its inputs cannot be checked against the tool's input_schema: {error}")]


def tool_version(tool: Tool) -> str:
    """Return what stands for a tool's behaviour in keys: its version, else a hash of its source."""
    traits = ToolTraits.of(tool)
    return str(traits.version) if traits.version is not None else _source_hash(traits.source_object or type(tool))


@lru_cache(maxsize=1024)
def _source_hash(subject: Any) -> str:
    try:
        source = inspect.getsource(subject)
    except (OSError, TypeError):  # made in a REPL or by exec: the name is all there is
        source = f"{subject.__module__}.{subject.__qualname__}"
    return f"source-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
