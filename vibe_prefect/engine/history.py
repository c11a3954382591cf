"""What runs there are: how far each came, and what its records and outputs take on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from vibe_prefect.engine.lineage import (
    FLOW_NAME,
    MAX_CHAIN,
    SHARED_FOLDER,
    due_by_now,
    output_name,
)
from vibe_prefect.engine.operator_roots import output_parameter, recorded_output
from vibe_prefect.engine.plan_store import kept_plan, recorded_data
from vibe_prefect.engine.record_files import FILES_FOLDER
from vibe_prefect.engine.record_lock import LOCK_FILE
from vibe_prefect.engine.records import record_namespace
from vibe_prefect.engine.storage import RecordFolder, RecordStore
from vibe_prefect.errors import KeptPlanError
from vibe_prefect.graph import ID_FORM

logger = logging.getLogger(__name__)

PAGE = 200
"""How many task runs one answer of the server holds at most."""

RUNS_PAGE = 50
"""Likewise for flow runs: each carries its whole plan."""

_KEY_LENGTH = 64
_OUR_FLOW = FlowFilter(name=FlowFilterName(any_=[FLOW_NAME]))


@dataclass(frozen=True)
class RunRow:
    """A run, as a list shows it. `None` stands for what cannot be told."""

    name: str
    id: str

    namespace: str
    """Namespace of its records: the id of the first run of its resume chain, or the plan's."""

    plan_id: str | None
    state: str
    """Prefect's name of the state, such as `Completed`."""

    created: datetime
    started: datetime | None

    done: int | None
    """How many nodes of the plan had completed when the run ended, earlier runs' included."""

    total: int | None
    """How many nodes the plan has."""

    record_bytes: int | None
    """Size of the records in its namespace; `None` when they are not in a folder."""

    outputs: OutputFolder | None
    """The folder of what it made, when there is one here."""

    def age(self, now: datetime) -> float:
        """Return the seconds since it started, or was scheduled when it has not."""
        return max(0.0, (now - (self.started or self.created)).total_seconds())


@dataclass(frozen=True)
class OutputFolder:
    """A run's own folder below the output folder."""

    path: Path
    bytes: int


@dataclass(frozen=True)
class NamespaceContent:
    """Size and age of what is in the folder of a namespace."""

    bytes: int = 0
    """Size of the records and of the files that they keep; the lock is none."""

    newest: float | None = None
    """When the newest of them was written, seconds since 1970."""

    written: Mapping[str, float] = field(default_factory=dict[str, float])
    """When each node's first record was written, by node id."""


@dataclass(frozen=True)
class KnownRun:
    """What is remembered of a flow run: not its plan, of which a thousand would fill the memory."""

    id: UUID
    name: str
    state: str
    completed: bool
    over: bool
    """Whether its state is final."""

    created: datetime
    started: datetime | None
    ended: datetime | None
    goes_on_from: str | None
    """Name or id of the run that it resumes."""

    plan_id: str | None
    nodes: frozenset[str] | None
    """Ids of the plan's nodes."""

    output: str | None
    """The folder below which its own lies; `None` for what no operator allows."""

    refused_output: str | None = None
    """The folder that it names instead, where the operator's settings here do not allow it."""

    due: datetime | None = None
    """When it was to start."""

    kept_plan: str | None = None
    """The reference to its plan, where that is kept beside the records."""

    shares: bool = False
    """Whether it shares its records with the plan's other runs."""

    @property
    def last_active(self) -> datetime:
        """When anything was last known of it."""
        return self.ended or self.started or self.created


class Ancestry:
    """Runs, and which one each goes on from."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, KnownRun] = {}
        self._by_name: dict[str, list[KnownRun]] = {}
        self._asked: set[str] = set()

    def __iter__(self) -> Iterator[KnownRun]:
        return iter(self._by_id.values())

    def add(self, runs: Iterable[KnownRun]) -> None:
        """Take in runs; one that is known already is not taken twice."""
        for run in runs:
            if run.id not in self._by_id:
                self._by_id[run.id] = run
                self._by_name.setdefault(run.name, []).append(run)

    async def complete(self, client: PrefectClient) -> None:
        """Ask the server for the runs that others go on from, as far back as it knows them."""
        for _ in range(MAX_CHAIN):
            missing = {run.goes_on_from for run in self if run.goes_on_from and self._earlier(run) is None}
            missing -= self._asked
            if not missing:
                return
            self._asked |= missing
            self.add(await _referred(client, sorted(missing)))

    def head(self, run: KnownRun) -> KnownRun | None:
        """Return the first run of a run's resume chain; `None` when the server no longer knows it."""
        return self._walk(run)[1]

    def namespace(self, run: KnownRun) -> str:
        """Return the name of a run's records; where its chain is broken, as much as can be told."""
        if run.shares and run.plan_id is not None and ID_FORM.fullmatch(run.plan_id):  # it will be part of a path
            return record_namespace(run.id, run.plan_id, shared=True)
        last, head = self._walk(run)
        reference = _as_id(last.goes_on_from) if head is None else head.id
        return str(reference or last.id)

    def _walk(self, run: KnownRun) -> tuple[KnownRun, KnownRun | None]:
        """Return the last run that can be reached, and again when it is the head."""
        seen = {run.id}
        while run.goes_on_from:
            earlier = self._earlier(run)
            if earlier is None or earlier.id in seen:
                return run, None
            seen.add(earlier.id)
            run = earlier
        return run, run

    def _earlier(self, run: KnownRun) -> KnownRun | None:
        reference = run.goes_on_from or ""
        id = _as_id(reference)
        if id is not None:
            return self._by_id.get(id)
        named = [other for other in self._by_name.get(reference, ()) if other.created <= run.created]
        return max(named, key=lambda other: other.created, default=None)


async def list_runs(client: PrefectClient, store: RecordStore, limit: int) -> list[RunRow]:
    """Return the newest runs of plans, newest first.

    Args:
        client: The server's client.
        store: Where records are.
        limit: How many runs at most.
    """
    files = store.result_storage if isinstance(store.result_storage, RecordFolder) else None
    runs = await _with_kept_plans(await read_runs(client, limit), store)
    ancestry = Ancestry()
    ancestry.add(runs)
    await ancestry.complete(client)
    records: dict[str, NamespaceContent | None] = {}
    done: dict[UUID, int] = {}
    unclear: list[tuple[KnownRun, set[str]]] = []
    for run in runs:
        namespace = ancestry.namespace(run)
        here = read_namespace(files.root / namespace) if files else None
        records[namespace] = NamespaceContent(here.bytes) if here else None
        recorded = _recorded(run, here) if here else set[str]()
        if run.completed or run.nodes is None:
            done[run.id] = len(run.nodes or ())
        elif recorded and not run.goes_on_from:
            done[run.id] = len(recorded)
        else:  # records of earlier runs may be of other versions of the nodes: ask which nodes Prefect saw complete
            unclear.append((run, recorded))
    done |= await _count_completed(client, unclear)
    return [
        _row(run, ancestry, records[ancestry.namespace(run)], done[run.id], in_folder=files is not None) for run in runs
    ]


async def _with_kept_plans(runs: Sequence[KnownRun], store: RecordStore) -> list[KnownRun]:
    """Return runs with the nodes of the plans that are kept beside the records, as far as they are there."""
    nodes: dict[str, frozenset[str] | None] = {}
    for reference in {run.kept_plan for run in runs if run.kept_plan}:
        try:
            nodes[reference] = _plan_of(await recorded_data(reference, store))[1]
        except KeptPlanError as error:
            logger.debug("%s", error)
    return [replace(run, nodes=nodes.get(run.kept_plan)) if run.kept_plan else run for run in runs]


def total_bytes(rows: Iterable[RunRow]) -> tuple[int, int]:
    """Return the size of all records and of all outputs; what several runs share counts once."""
    records = {row.namespace: row.record_bytes or 0 for row in rows}
    outputs = {row.outputs.path: row.outputs.bytes for row in rows if row.outputs}
    return sum(records.values()), sum(outputs.values())


def _row(run: KnownRun, ancestry: Ancestry, records: NamespaceContent | None, done: int, *, in_folder: bool) -> RunRow:
    return RunRow(
        name=run.name,
        id=str(run.id),
        namespace=ancestry.namespace(run),
        plan_id=run.plan_id,
        state=run.state,
        created=run.created,
        started=run.started,
        done=None if run.nodes is None else done,
        total=None if run.nodes is None else len(run.nodes),
        record_bytes=(records.bytes if records else 0) if in_folder else None,
        outputs=outputs_of(run, ancestry.head(run)),
    )


def _recorded(run: KnownRun, records: NamespaceContent) -> set[str]:
    """Return the nodes of a run's plan whose records were written while it ran."""
    first = run.started.timestamp() if run.started and run.goes_on_from else float("-inf")
    last = run.ended.timestamp() if run.ended else float("inf")
    return {id for id, when in records.written.items() if id in (run.nodes or ()) and first <= when <= last}


async def _count_completed(client: PrefectClient, runs: Sequence[tuple[KnownRun, set[str]]]) -> dict[UUID, int]:
    """Return how many nodes of each run completed: those that the server knows of, and those already counted."""
    counts: dict[UUID, int] = {}
    for start in range(0, len(runs), RUNS_PAGE):
        batch = {run.id: (run, set(ids)) for run, ids in runs[start : start + RUNS_PAGE]}
        async for flow_run, name in _completed_task_runs(client, list(batch)):
            run, ids = batch[flow_run]
            if name in (run.nodes or ()):
                ids.add(name)
        counts |= {id: len(ids) for id, (_, ids) in batch.items()}
    return counts


async def _completed_task_runs(client: PrefectClient, flow_runs: list[UUID]) -> AsyncIterator[tuple[UUID, str]]:
    completed = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.COMPLETED]))
    offset = 0
    while True:
        page = await client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=flow_runs)),
            task_run_filter=TaskRunFilter(state=completed),
            sort=TaskRunSort.ID_DESC,
            limit=PAGE,
            offset=offset,
        )
        for task_run in page:
            if task_run.flow_run_id is not None:
                yield task_run.flow_run_id, task_run.name
        if len(page) < PAGE:
            return
        offset += len(page)


async def read_runs(client: PrefectClient, limit: int | None = None) -> list[KnownRun]:
    """Return the runs of plans, newest first.

    Args:
        client: The server's client.
        limit: How many of those that have begun or are due; without one all, also those that are scheduled for later.
    """
    runs: dict[UUID, KnownRun] = {}
    plans: dict[frozenset[str], frozenset[str]] = {}
    due = None if limit is None else await due_by_now(client)
    offset = 0
    while limit is None or len(runs) < limit:
        size = RUNS_PAGE if limit is None else min(RUNS_PAGE, limit - len(runs))
        page = await client.read_flow_runs(
            flow_filter=_OUR_FLOW, flow_run_filter=due, sort=FlowRunSort.START_TIME_DESC, limit=size, offset=offset
        )
        runs |= {run.id: known_run(run, plans) for run in page if run.id not in runs}
        if len(page) < size:
            break
        offset += len(page)
    return list(runs.values())


async def _referred(client: PrefectClient, references: Sequence[str]) -> list[KnownRun]:
    """Return the runs that names and ids stand for, as far as the server knows them."""
    found: list[KnownRun] = []
    for start in range(0, len(references), RUNS_PAGE):
        part = references[start : start + RUNS_PAGE]
        ids = [id for reference in part if (id := _as_id(reference))]
        names = [reference for reference in part if not _as_id(reference)]
        if ids:
            by_id = FlowRunFilter(id=FlowRunFilterId(any_=ids))
            found += map(known_run, await client.read_flow_runs(flow_run_filter=by_id, limit=PAGE))
        if names:
            by_name = FlowRunFilter(name=FlowRunFilterName(any_=names))
            named = await client.read_flow_runs(flow_filter=_OUR_FLOW, flow_run_filter=by_name, limit=PAGE)
            found += map(known_run, named)
    return found


def known_run(run: FlowRun, plans: dict[frozenset[str], frozenset[str]] | None = None) -> KnownRun:
    """Return what is remembered of a flow run, whatever its parameters hold.

    Args:
        run: The flow run.
        plans: The nodes of plans seen before: runs of one plan share them.
    """
    parameters: dict[str, Any] = run.parameters
    kept = kept_plan(parameters.get("plan"))
    plan_id, nodes = (kept.plan_id, None) if kept else _plan_of(parameters.get("plan"))
    if nodes is not None and plans is not None:
        nodes = plans.setdefault(nodes, nodes)
    reference = parameters.get("resume_from")
    output = recorded_output(run)
    return KnownRun(
        id=run.id,
        name=run.name,
        state=run.state_name or "Unknown",
        completed=run.state is not None and run.state.is_completed(),
        over=run.state is not None and run.state.is_final(),
        created=run.created or run.expected_start_time or datetime.now(UTC),
        due=run.expected_start_time,
        started=run.start_time,
        ended=run.end_time,
        goes_on_from=str(reference) if reference else None,
        plan_id=plan_id,
        nodes=nodes,
        output=output,
        refused_output=output_parameter(run) if output is None else None,
        kept_plan=str(kept) if kept else None,
        shares=parameters.get("reuse") == "plan",
    )


def _plan_of(value: Any) -> tuple[str | None, frozenset[str] | None]:
    """Return a plan's id and those of its nodes, without checking it: each is `None` where it is damaged."""
    if not isinstance(value, dict):
        return None, None
    plan = cast("dict[str, Any]", value)
    id = plan.get("id")
    return id if isinstance(id, str) else None, _node_ids(plan.get("root_nodes"))


def _node_ids(nodes: Any) -> frozenset[str] | None:
    ids: set[str] = set()
    left: list[Any] = [nodes]
    while left:
        part = left.pop()
        if not isinstance(part, list):
            return None
        for node in cast("list[Any]", part):
            if not isinstance(node, dict) or not isinstance(id := cast("dict[str, Any]", node).get("id"), str):
                return None
            ids.add(id)
            left.append(cast("dict[str, Any]", node).get("children") or [])
    return frozenset(ids)


def _as_id(reference: str | None) -> UUID | None:
    try:
        return UUID(reference)
    except (TypeError, ValueError):
        return None


def read_namespace(folder: Path) -> NamespaceContent | None:
    """Return what is in the folder of a namespace; `None` when there is no such folder, or a link in its place."""
    if folder.is_symlink():
        return None
    total, newest, written = 0, None, dict[str, float]()
    try:
        for entry in _files_in(folder):
            if entry.name == LOCK_FILE:
                continue
            status = entry.stat(follow_symlinks=False)
            total += status.st_size
            newest = max(newest or 0.0, status.st_mtime)
            if id := _node_of(entry.name):
                written[id] = min(written.get(id, status.st_mtime), status.st_mtime)
    except OSError:
        return None
    return NamespaceContent(total, newest, written)


def _files_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the files of a namespace: its records, and those that they keep."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry
            elif entry.name == FILES_FOLDER and entry.is_dir(follow_symlinks=False):
                with os.scandir(entry.path) as kept:
                    yield from (file for file in kept if file.is_file(follow_symlinks=False))


def _node_of(record: str) -> str | None:
    """Return the node whose record a file is, going by its name: `<node id>-<key>`."""
    id, _, key = record.rpartition("-")
    return id if len(key) == _KEY_LENGTH and ID_FORM.fullmatch(id) else None


def outputs_of(run: KnownRun, head: KnownRun | None) -> OutputFolder | None:
    """Return a run's own output folder, when it lies where the flow puts it: `<output>/<plan id>/<time>-<8 hex>`.

    Args:
        run: The run.
        head: The first run of its resume chain, which names the folder.
    """
    folder = _own_folder(run, head, run.output)
    return OutputFolder(folder, tree_bytes(folder)) if folder else None


def refused_outputs_of(run: KnownRun, head: KnownRun | None) -> Path | None:
    """Return a run's own output folder where it is there, and the operator's settings here do not allow it."""
    return _own_folder(run, head, run.refused_output)


def _own_folder(run: KnownRun, head: KnownRun | None, output: str | None) -> Path | None:
    if head is None or output is None or run.plan_id is None or not ID_FORM.fullmatch(run.plan_id):
        return None
    name = SHARED_FOLDER if run.shares else output_name(head.id, head.due or head.created)
    try:
        folder = Path(output).resolve() / run.plan_id / name
        own = folder.is_dir() and folder.resolve() == folder  # neither it nor the plan's folder is a link
    except (OSError, RuntimeError, ValueError):
        return None
    return folder if own else None


def tree_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; links are not followed."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += Path(parent, name).lstat().st_size
            except OSError:  # gone meanwhile
                continue
    return total
