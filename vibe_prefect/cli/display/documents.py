"""Documents that commands print with `--json`: a model for each, one vocabulary, and one schema version.

A field that several documents have means the same in each: `run_id` and `run_name` are Prefect's id and name of a flow
run, `run_url` is its page in Prefect's UI, `plan_id` is the id of a plan, `outputs` the folder of a run's files,
and `record_namespace` the folder of its records. Numbers carry their unit in the name, or are counts.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import Field, TypeAdapter

from vibe_prefect.cli.display.answer_documents import (
    AcceptanceDocument,
    AnswerDocument,
    ApprovalsDocument,
    EditDocument,
)
from vibe_prefect.cli.display.console import write
from vibe_prefect.cli.display.document import Document, Part, RunReference
from vibe_prefect.cli.display.frames import Frames
from vibe_prefect.cli.display.plan_documents import DiffDocument, DryRunDocument, PlanDocument, ReplanDocument
from vibe_prefect.errors import PlanError, Problem
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.reporting.explanations.explain import NodeExplanation
from vibe_prefect.reporting.report import SCHEMA_VERSION, RunReport

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class FileSize(Part):
    """A file or a folder."""

    path: str
    bytes: int


class Counts(Part):
    """Numbers of nodes by their status in a run."""

    done: int | None
    total: int | None


class RunSummary(Part):
    """A run in numbers."""

    plan_id: str
    status: str
    total_nodes: int
    completed: int
    failed: int
    skipped: int
    total_duration: float
    """Seconds."""

    started_at: str
    completed_at: str | None
    parallel_efficiency: float
    execution_groups: int


class RunNode(Part):
    """Result of a node."""

    type: str
    tool: str | None
    status: str
    started_at: str | None
    duration: float
    """Seconds."""

    error: str | None
    result: Any
    reused: bool
    """Whether it was reused from an earlier run."""

    provenance: NodeProvenance | None
    """Run, attempts, calls and judgement behind the result; `null` where it was not executed, or they are not known."""


class TaskRuns(Part):
    """Task runs of a run."""

    expected: int
    recorded: int | None
    """Number of task runs that the server had recorded at last; `null` where it could not be asked."""


class HelpfulCommand(Part):
    """A command that helps after a run."""

    purpose: str
    """Purpose, such as `to write 'post' again`."""

    command: str
    """Shell command."""


class RunDocument(Document):
    """`run` and `resume`: result of a run."""

    kind: Literal["run"] = "run"
    simulated: bool
    summary: RunSummary
    nodes: dict[str, RunNode]
    outputs: str | None
    """The folder of the run's files; `null` when it wrote none."""

    files: list[FileSize]
    """Paths relative to the folder."""

    run_name: str | None
    """`null` for a simulation that was not recorded."""

    run_id: str | None
    run_url: str | None
    task_runs: TaskRuns | None
    tokens: int | None = None
    """Tokens that models read and wrote in this run; `null` where none are known."""

    cost_usd: float | None = None
    """Price of the calls of this run in US dollars, as far as it is known."""

    next_steps: list[HelpfulCommand] = Field(default_factory=list[HelpfulCommand])
    """Commands that help after the run, the best first; none where nothing is left to do."""


class ExplanationDocument(Document):
    """`output --explain`: who made the results of nodes, and why they were accepted or refused."""

    kind: Literal["explanation"] = "explanation"
    run_name: str
    run_id: str
    state: str
    """Prefect's name of the state, such as `Completed`."""

    nodes: dict[str, NodeExplanation]


class ListedRun(RunReference):
    """A run in a list."""

    record_namespace: str
    plan_id: str | None
    state: str
    """Prefect's name of the state, such as `Completed`."""

    started_at: str | None
    age_seconds: float
    nodes: Counts
    record_bytes: int | None
    outputs: str | None
    output_bytes: int


class RunsDocument(Document):
    """`runs`: the newest runs, newest first."""

    kind: Literal["runs"] = "runs"
    runs: list[ListedRun]
    record_bytes: int
    output_bytes: int


class PrunedRecords(Part):
    """Records and outputs of the runs of one namespace."""

    record_namespace: str
    run_names: list[str]
    last_active: str
    record_bytes: int
    outputs: list[FileSize]


class KeptRecords(Part):
    """Records that stay although they are old enough."""

    record_namespace: str
    run_names: list[str]
    reason: str


class PruneDocument(Document):
    """`prune`: deleted records, or those that would be deleted."""

    kind: Literal["prune"] = "prune"
    dry_run: bool
    older_than_seconds: float
    deleted: list[PrunedRecords]
    kept: list[KeptRecords]
    plans: list[FileSize]
    """Stored plans that no run needs any more."""

    failures: list[str]
    bytes: int


class ProblemFrame(Part):
    """The line of a problem, made harmless for a terminal."""

    text: str
    caret: int
    """Columns before the place."""


class PlanProblem(Part):
    """Fault of a plan."""

    message: str
    """The hint included."""

    hint: str | None
    node_id: str | None
    field: str | None
    file: str | None
    line: int | None
    column: int | None
    frame: ProblemFrame | None


class ProblemsDocument(Document):
    """`validate`, and every other command whose plan cannot run: the faults of the plan."""

    kind: Literal["problems"] = "problems"
    plan: str | None
    """The plan's file or id."""

    problems: list[PlanProblem]
    """None for a valid plan."""


DOCUMENTS: tuple[type[Document], ...] = (
    RunDocument,
    ExplanationDocument,
    RunsDocument,
    PruneDocument,
    DiffDocument,
    DryRunDocument,
    ReplanDocument,
    PlanDocument,
    ProblemsDocument,
    ApprovalsDocument,
    AnswerDocument,
    AcceptanceDocument,
    EditDocument,
)


def print_document(document: Document) -> None:
    """Print a document on standard output."""
    write(json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")


@contextmanager
def plan_problems() -> Generator[None]:
    """Print the faults of a plan as a document, too, where the commands within refuse it.

    Raises:
        PlanError: The plan cannot run; its text is for standard error.
    """
    try:
        yield
    except PlanError as error:
        print_document(problems_document(error))
        raise


def problems_document(error: PlanError, texts: Mapping[str, str] | None = None) -> ProblemsDocument:
    """Return the faults of a plan as a document.

    Args:
        error: The error.
        texts: Plans that are in no file; see `Frames`.
    """
    frames = Frames(texts=texts)
    return ProblemsDocument(plan=error.name, problems=[_problem(problem, frames) for problem in error.problems])


def _problem(problem: Problem, frames: Frames) -> PlanProblem:
    position, frame = problem.position, frames.of(problem)
    return PlanProblem(
        message=problem.message,
        hint=problem.hint,
        node_id=problem.node_id,
        field=problem.field,
        file=position.file if position else None,
        line=position.line if position else None,
        column=position.column if position else None,
        frame=ProblemFrame(text=frame.text, caret=frame.caret) if frame else None,
    )


def outputs_schema() -> dict[str, Any]:
    """Return the JSON Schema of all documents, the stored report of a run among them."""
    adapters: list[tuple[str, Literal["serialization"], TypeAdapter[Any]]] = [
        (model.__name__, "serialization", TypeAdapter(model)) for model in DOCUMENTS
    ]
    report = (RunReport.__name__, "serialization", TypeAdapter(RunReport))
    references, shared = TypeAdapter.json_schemas([*adapters, report], ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = shared["$defs"]
    definitions[RunReport.__name__] = _report_schema(definitions[RunReport.__name__])
    return {
        "$schema": DIALECT,
        "title": "vibe-prefect JSON output",
        "oneOf": list(references.values()),
        "$defs": definitions,
    }


def _report_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the keys that `RunReport.to_dict` adds to the fields."""
    added = {"schema_version": {"const": SCHEMA_VERSION}, "kind": {"const": "report"}}
    return {**schema, "properties": {**added, **schema["properties"]}, "required": [*added, *schema["required"]]}
