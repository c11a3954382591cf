"""Lists of runs: the progress of each, and the size of its records and outputs on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import TaskRunSort

from vibe_prefect.engine.inputs.plan_store import recorded_data
from vibe_prefect.engine.listing import RUNS_PAGE, paged
from vibe_prefect.engine.past_run import PastRun, PlanOutline, run_folder
from vibe_prefect.engine.records.record_files import FILES_FOLDER
from vibe_prefect.engine.records.record_lock import LOCK_FILE
from vibe_prefect.engine.records.storage import RecordFolder, RecordStore
from vibe_prefect.engine.runs.resume_chains import read_runs, with_roots
from vibe_prefect.errors import KeptPlanError
from vibe_prefect.plan.graph import ID_FORM

logger = logging.getLogger(__name__)

_KEY_LENGTH = 64


@dataclass(frozen=True)
class RunRow:
    """A run, as a list shows it. `None` stands for unknown."""

    run: PastRun
    """The run, with the outline of its plan."""

    done: int | None
    """Number of nodes of the plan that had completed when the run ended, earlier runs' included."""

    record_bytes: int | None
    """Size of the records in its namespace; `None` when they are not in a folder."""

    outputs: OutputFolder | None
    """The folder of its outputs, when it is on this machine."""

    @property
    def total(self) -> int | None:
        """Number of nodes of the plan."""
        nodes = self.run.outline.nodes
        return None if nodes is None else len(nodes)

    def age(self, now: datetime) -> float:
        """Return the seconds since it started, or was scheduled when it has not."""
        return max(0.0, (now - (self.run.started or self.run.created)).total_seconds())


@dataclass(frozen=True)
class OutputFolder:
    """A run's own folder below the output folder."""

    path: Path
    bytes: int


@dataclass(frozen=True)
class NamespaceContent:
    """Size and age of the content of a namespace's folder."""

    bytes: int = 0
    """Size of the records and their files, without the lock."""

    newest: float | None = None
    """Time when the newest of them was written, in seconds since 1970."""

    written: Mapping[str, float] = field(default_factory=dict[str, float])
    """Time when each node's first record was written, by node id, in seconds since 1970."""


async def list_runs(client: PrefectClient, store: RecordStore, limit: int) -> list[RunRow]:
    """Return the newest runs of plans, newest first.

    Args:
        client: The server's client.
        store: The store of their records.
        limit: Largest number of runs.
    """
    files = store.result_storage if isinstance(store.result_storage, RecordFolder) else None
    runs = await _with_kept_plans(await read_runs(client, limit), store)
    chains = await with_roots(client, runs)
    runs = [chains.with_root(run) for run in runs]
    sizes: dict[str, int] = {}
    completed: dict[UUID, int] = {}
    unclear: list[tuple[PastRun, set[str]]] = []
    for run in runs:
        content = read_namespace(files.root / run.record_namespace) if files else None
        sizes[run.record_namespace] = content.bytes if content else 0
        recorded = _recorded(run, content) if content else set[str]()
        nodes = run.outline.nodes
        if run.completed or nodes is None:
            completed[run.id] = len(nodes or ())
        elif recorded and not run.parameters.resume_from:
            completed[run.id] = len(recorded)
        else:  # records of earlier runs may be of other versions of the nodes: ask which nodes Prefect saw complete
            unclear.append((run, recorded))
    completed |= await _count_completed(client, unclear)
    return [
        RunRow(
            run,
            done=None if run.outline.nodes is None else completed[run.id],
            record_bytes=sizes[run.record_namespace] if files else None,
            outputs=outputs_of(run),
        )
        for run in runs
    ]


async def _with_kept_plans(runs: Sequence[PastRun], store: RecordStore) -> list[PastRun]:
    """Return runs with the nodes of their plans, also of plans beside the records, as far as these are there."""
    outlines: dict[str, PlanOutline] = {}
    for ref in {str(run.outline.kept): run.outline.kept for run in runs if run.outline.kept}.values():
        try:
            outlines[str(ref)] = replace(PlanOutline.of(await recorded_data(str(ref), store)), kept=ref)
        except KeptPlanError as error:
            logger.debug("%s", error)
    return [run.with_outline(outlines.get(str(run.outline.kept), run.outline)) for run in runs]


def total_bytes(rows: Iterable[RunRow]) -> tuple[int, int]:
    """Return the size of all records and of all outputs; shared ones count once."""
    records = {row.run.record_namespace: row.record_bytes or 0 for row in rows}
    outputs = {row.outputs.path: row.outputs.bytes for row in rows if row.outputs}
    return sum(records.values()), sum(outputs.values())


def _recorded(run: PastRun, records: NamespaceContent) -> set[str]:
    """Return the nodes of a run's plan whose records were written while it ran."""
    start = run.started.timestamp() if run.started and run.parameters.resume_from else float("-inf")
    end = run.ended.timestamp() if run.ended else float("inf")
    return {id for id, when in records.written.items() if id in (run.outline.nodes or ()) and start <= when <= end}


async def _count_completed(client: PrefectClient, runs: Sequence[tuple[PastRun, set[str]]]) -> dict[UUID, int]:
    """Count the completed nodes of each run: those that the server has on record, and those already counted."""
    counts: dict[UUID, int] = {}
    for start in range(0, len(runs), RUNS_PAGE):
        batch = {run.id: (run, set(ids)) for run, ids in runs[start : start + RUNS_PAGE]}
        async for flow_run, name in _completed_task_runs(client, list(batch)):
            run, ids = batch[flow_run]
            if name in (run.outline.nodes or ()):
                ids.add(name)
        counts |= {id: len(ids) for id, (_, ids) in batch.items()}
    return counts


async def _completed_task_runs(client: PrefectClient, flow_runs: list[UUID]) -> AsyncIterator[tuple[UUID, str]]:
    completed = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.COMPLETED]))
    pages = paged(
        lambda size, offset: client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=flow_runs)),
            task_run_filter=TaskRunFilter(state=completed),
            sort=TaskRunSort.ID_DESC,
            limit=size,
            offset=offset,
        )
    )
    async for task_run in pages:
        if task_run.flow_run_id is not None:
            yield task_run.flow_run_id, task_run.name


def read_namespace(folder: Path) -> NamespaceContent | None:
    """Read the content of a namespace's folder; `None` when there is no such folder, or a link in its place."""
    if folder.is_symlink():
        return None
    total, newest, first_written = 0, None, dict[str, float]()
    try:
        for entry in _files_in(folder):
            if entry.name == LOCK_FILE:
                continue
            status = entry.stat(follow_symlinks=False)
            total += status.st_size
            newest = max(newest or 0.0, status.st_mtime)
            if id := _node_of(entry.name):
                first_written[id] = min(first_written.get(id, status.st_mtime), status.st_mtime)
    except OSError:
        return None
    return NamespaceContent(total, newest, first_written)


def _files_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the files of a namespace: its records, and the files beside them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry
            elif entry.name == FILES_FOLDER and entry.is_dir(follow_symlinks=False):
                with os.scandir(entry.path) as files:
                    yield from (file for file in files if file.is_file(follow_symlinks=False))


def _node_of(record: str) -> str | None:
    """Return the node id in a record's file name, `<node id>-<key>`; `None` for another name."""
    id, _, key = record.rpartition("-")
    return id if len(key) == _KEY_LENGTH and ID_FORM.fullmatch(id) else None


def outputs_of(run: PastRun) -> OutputFolder | None:
    """Return a run's own output folder, when it is at the flow's path for it: `<output>/<plan id>/<time>-<8 hex>`.

    Args:
        run: The run, with its root.
    """
    folder = _own_folder(run, run.output)
    return OutputFolder(folder, tree_bytes(folder)) if folder else None


def refused_outputs_of(run: PastRun) -> Path | None:
    """Return a run's own output folder where it exists, and the operator's settings here do not allow it."""
    return _own_folder(run, run.named_output) if run.output is None else None


def _own_folder(run: PastRun, output: str | None) -> Path | None:
    plan_id = run.plan_id
    if run.first is None or output is None or plan_id is None or not ID_FORM.fullmatch(plan_id):
        return None
    try:
        folder = run_folder(output, plan_id, None if run.shares else run.first)
        is_own = folder.is_dir() and folder.resolve() == folder  # neither it nor the plan's folder is a link
    except (OSError, RuntimeError, ValueError):
        return None
    return folder if is_own else None


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
