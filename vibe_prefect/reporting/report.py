"""Report of a run as one value: identity, result of each node, cost, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vibe_prefect.core.acceptance import Acceptance
from vibe_prefect.core.approval import Question
from vibe_prefect.core.fallback import Fallback
from vibe_prefect.core.feedback import FailureKind
from vibe_prefect.core.models import WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.core.variations import Variations
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.graph import Edge
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.reporting.attempts import RunAttempt
from vibe_prefect.reporting.times.spans import Span, attempt_spans, moment, side_by_side
from vibe_prefect.results import FINISHED, ExecutionStatus
from vibe_prefect.text.pydantic_errors import finding
from vibe_prefect.tools.registry import LLM_TOOL

SCHEMA_VERSION = 1
"""Version of the JSON documents; it goes up when one changes so that an older version could misread it."""

_HEAD = frozenset({"schema_version", "kind", "schema"})
"""Keys of a report's data that are not fields of the report."""

KIND = "report"
"""Distinguishes a report from the other JSON documents."""

RAN = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})
"""The statuses of a node whose work has been done, well or not."""

BEGUN = RAN | {ExecutionStatus.RUNNING}
"""The statuses of a node whose work has begun."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Report of one node. An unknown value is `None`, never 0."""

    id: str
    """The node's id."""

    type: WorkflowNodeType
    """Kind of work."""

    description: str
    """Task of the node."""

    tool: str | None
    """The tool that ran it, when one did."""

    parent: str | None
    """Its parent's id."""

    depth: int
    """Its level; 1 for a root node."""

    dependencies: tuple[str, ...]
    """Ids of its declared dependencies."""

    status: ExecutionStatus
    """Status; pending or running in a run that has not ended, or was killed."""

    reused: bool
    """Whether it was reused from an earlier run; its times and costs are that run's."""

    started_at: str | None
    """Time when its first attempt began, ISO 8601."""

    duration: float | None
    """Seconds that its own work took, all attempts together."""

    expected: float | None
    """Seconds that the plan expected."""

    quality: float | None
    """Quality that a judge or a check measured, 0 to 1; `None` where nothing was judged."""

    efficiency: float | None
    """The expected by the actual duration, at most 2; `None` where nothing was expected."""

    attempts: int | None
    """Number of attempts."""

    cpu_time: float | None
    """CPU seconds."""

    cpu_scope: str | None
    """Scope of the CPU seconds, `thread` or `process`."""

    memory: int | None
    """Bytes of memory."""

    memory_scope: str | None
    """Scope of the memory."""

    bytes_written: int | None
    """Bytes of the files that it wrote."""

    input_tokens: int | None
    """Tokens that models read."""

    output_tokens: int | None
    """Tokens that models wrote."""

    cost_usd: float | None
    """Price of the calls to models, in US dollars."""

    error: str | None
    """Reason why it failed or was skipped."""

    error_type: str | None
    """The exception's class name."""

    evidence: tuple[str, ...]
    """Quotes of a check from the judged text."""

    indicators: tuple[str, ...]
    """Reasons for another plan."""

    suggestions: tuple[str, ...]
    """Suggested changes."""

    files: tuple[OutputFile, ...]
    """The files that it wrote."""

    preview: str | None
    """Its output as text, cut."""

    remark: str | None = None
    """Reservation about a completed node's output: simulated, not judged, or from a template in place of a model."""

    provenance: NodeProvenance | None = None
    """How its result came about; `None` where it was not executed, and in reports of older versions."""

    failure_kind: FailureKind | None = None
    """Kind of its failure; `None` for one that may pass by itself, and for any other end."""

    acceptance: Acceptance | None = None
    """The override of a gate that refused; `None` for any other node."""

    fallback: Fallback | None = None
    """The fallback that stands in for its output; `None` for any other node."""

    variations: Variations | None = None
    """The variations of which its output is the best; `None` where there is one alone."""

    answers: tuple[str, ...] = ()
    """The answers of people to what it asked, a line each; empty for a node that asks nothing."""

    question: Question | None = None
    """The question whose answer it waits for; `None` for any other node."""

    is_group: bool = False
    """Whether it is a composite without work of its own, which only holds its children together."""

    key: str | None = None
    """Content key of its record; `None` where it is not known."""

    kept_as: str | None = None
    """Id under which its record is kept, where that is not its own."""

    @property
    def refused(self) -> bool:
        """Whether it is a gate that refused what it judged, and nobody has accepted that."""
        return self.status is ExecutionStatus.FAILED and self.failure_kind is FailureKind.REFUSED

    @property
    def spans(self) -> tuple[Span, ...]:
        """Span of each attempt in this run; one for all of them where they are not known, none for a reused node."""
        begin = moment(self.started_at) if self.executed else None
        if begin is None:
            return ()
        known = attempt_spans(self.provenance.attempts) if self.provenance else ()
        return known or (Span(begin, begin + (self.duration or 0.0), self.status is ExecutionStatus.FAILED),)

    @property
    def tokens(self) -> int | None:
        """Tokens read and written together; `None` when neither is known."""
        return added([self.input_tokens, self.output_tokens])

    @property
    def executed(self) -> bool:
        """Whether it was worked on in this run."""
        return self.started_at is not None and not self.reused

    @property
    def used_model(self) -> bool:
        """Whether a model was asked in this run, so that a cost which is not known is missing in the sum."""
        asked_model = self.tool == LLM_TOOL or self.tokens is not None or self.cost_usd is not None
        return self.executed and asked_model


@dataclass(frozen=True, slots=True)
class Totals:
    """A run in numbers. Tokens and cost are those of this run: reused nodes were paid for before."""

    nodes: int
    """All nodes of the plan."""

    statuses: Mapping[ExecutionStatus, int]
    """Number of nodes by status, with every status."""

    reused: int
    """Number of nodes that were reused from an earlier run."""

    qualities: tuple[float, ...]
    """Qualities that judges and checks measured, 0 to 1, the lowest first."""

    remarks: Mapping[str, int]
    """Number of nodes by remark."""

    node_seconds: float | None
    """The durations of the nodes that this run worked on, together."""

    input_tokens: int | None
    """Tokens that models read, as far as known."""

    output_tokens: int | None
    """Tokens that models wrote, as far as known."""

    cost_usd: float | None
    """Price of the calls to models, as far as known, in US dollars."""

    unpriced: int
    """Number of nodes that asked a model whose charge is not known."""

    @property
    def tokens(self) -> int | None:
        """Tokens read and written together; `None` when none are known."""
        return added([self.input_tokens, self.output_tokens])

    @property
    def finished(self) -> int:
        """Number of nodes that have completed, failed or been skipped."""
        return sum(self.statuses[status] for status in FINISHED)


@dataclass(frozen=True)
class RunReport:
    """Report of a run. Its `repr` is short, as that of an `ExecutionResult`."""

    run_id: str
    """Prefect's id of the flow run."""

    run_name: str
    """Prefect's name of the flow run."""

    plan: WorkflowPlan = field(repr=False)
    """The plan as it was run."""

    status: ExecutionStatus
    """Status of the run."""

    state: str
    """The name of its state, such as `Crashed`."""

    started_at: str | None
    """Time when it began, ISO 8601."""

    ended_at: str | None
    """Time when it ended, ISO 8601; `None` until then, and when it was killed."""

    seconds: float | None
    """Seconds from its begin to its end; `None` until then."""

    parallel_efficiency: float | None
    """The part of the nodes' own time that running side by side saved: 0 to 1."""

    nodes: tuple[NodeReport, ...] = field(repr=False)
    """Every node, in plan order."""

    groups: tuple[tuple[str, ...], ...] = field(repr=False)
    """Ids by topological level."""

    edges: tuple[Edge, ...] = field(repr=False)
    """Edges between nodes, each with its kind."""

    critical_path: tuple[str, ...] = field(repr=False)
    """The chain of waits that decided when the run ended, first to last."""

    replan_suggestions: tuple[Mapping[str, Any], ...] = field(repr=False)
    """Suggestions for a planner."""

    resume_command: str | None
    """Command that resumes the run; `None` when nothing is left to do."""

    output_root: str
    """The folder, or the address, that the run's files lie below."""

    run_url: str | None
    """Address of the run in Prefect's UI."""

    simulated: bool
    """Whether the simulation stood in for all nodes."""

    plan_file: str | None = None
    """Path of the file that the plan came from, as it was named; `None` for any other plan."""

    plan_changed: bool = False
    """Whether that file has changed since the run began."""

    attempts: tuple[RunAttempt, ...] = ()
    """The attempts of an adaptive run up to this one; empty for any other run."""

    @cached_property
    def totals(self) -> Totals:
        """The run in numbers."""
        return _totals(self.nodes)

    @cached_property
    def side_by_side(self) -> float | None:
        """Part of the nodes' working time that overlapping saved, 0 to 1, by real times; `None` until the end.

        `parallel_efficiency` is the contract's estimate: it takes pauses before retries for time without work.
        """
        return side_by_side(span for node in self.nodes for span in node.spans) if self.ended_at is not None else None

    @cached_property
    def by_id(self) -> Mapping[str, NodeReport]:
        """The nodes by their ids."""
        return {node.id: node for node in self.nodes}

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions whose answers its nodes wait for, in plan order."""
        return tuple(node.question for node in self.nodes if node.question is not None)

    def having(self, status: ExecutionStatus) -> tuple[NodeReport, ...]:
        """Return the nodes that have a status, in plan order."""
        return tuple(node for node in self.nodes if node.status is status)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data, with its kind and the version of its schema."""
        return {"schema_version": SCHEMA_VERSION, "kind": KIND, **_adapter().dump_python(self, mode="json")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunReport:
        """Build a report from the data that `to_dict` returned.

        Raises:
            UsageError: The data are of another schema, or not a report.
        """
        version = data.get("schema_version", data.get("schema"))  # the first reports call it `schema`
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"run report: its schema is {version!r}, and this version reads {SCHEMA_VERSION}; "
                "write the report again, or read it with the version that made it"
            )
        try:
            return _adapter().validate_python({key: value for key, value in data.items() if key not in _HEAD})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"run report: {where}: {finding(dict(first))}; write the report again") from error


def spans(nodes: tuple[NodeReport, ...]) -> dict[str, tuple[float, float]]:
    """Return the begin and end of each node that this run finished, in seconds since 1970, with pauses for retries."""
    finished = ((node, node.spans) for node in nodes if node.duration is not None)
    return {node.id: (spans[0].begin, spans[-1].end) for node, spans in finished if spans}


def added(values: list[int | None]) -> int | None:
    """Return the sum of the known values; `None` when none is known."""
    known_values = [value for value in values if value is not None]
    return sum(known_values) if known_values else None


def _totals(nodes: tuple[NodeReport, ...]) -> Totals:
    counts = Counter(node.status for node in nodes)
    executed = [node for node in nodes if node.executed]
    costs = [node.cost_usd for node in executed if node.cost_usd is not None]
    durations = [node.duration for node in executed if node.duration is not None]
    return Totals(
        nodes=len(nodes),
        statuses={status: counts[status] for status in ExecutionStatus},
        reused=sum(node.reused for node in nodes),
        qualities=tuple(sorted(node.quality for node in nodes if node.quality is not None)),
        remarks=Counter(node.remark for node in nodes if node.remark is not None),
        node_seconds=sum(durations) if durations else None,
        input_tokens=added([node.input_tokens for node in executed]),
        output_tokens=added([node.output_tokens for node in executed]),
        cost_usd=sum(costs) if costs else None,
        unpriced=sum(node.used_model and node.cost_usd is None for node in executed),
    )


@cache
def _adapter() -> TypeAdapter[RunReport]:
    return TypeAdapter(RunReport)
