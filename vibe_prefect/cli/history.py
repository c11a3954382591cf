"""`vibe-prefect runs` and `prune`: what runs there are, and what old ones left behind."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from rich.text import Text

from vibe_prefect.cli.console import Screen, err, out
from vibe_prefect.cli.durations import parse_duration, short_age
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.exits import ExitCode, complain
from vibe_prefect.cli.outputs import (
    Counts,
    FileSize,
    KeptRecords,
    ListedRun,
    PruneDocument,
    PrunedRecords,
    RunsDocument,
    print_document,
)
from vibe_prefect.cli.run import find_server
from vibe_prefect.cli.text import columns, counted, one_line, size

if TYPE_CHECKING:
    from vibe_prefect.engine.history import RunRow
    from vibe_prefect.engine.plan_pruning import UnusedPlan
    from vibe_prefect.engine.pruning import Kept, Remains

SHARED = "shared"
"""Stands where a newer run of the list has the same records or outputs."""

_T = TypeVar("_T")
UNKNOWN = "-"
MAX_NAMES = 3
_STYLES = {"Completed": "green", "Failed": "red", "Crashed": "red", "Running": "cyan"}


@dataclass(frozen=True)
class PruneRequest:
    """What the user asked for."""

    older_than: timedelta
    outputs: bool
    dry_run: bool


@dataclass(frozen=True)
class Pruned:
    """What came of it."""

    deleted: Sequence[Remains]
    """What was deleted, or would be."""

    kept: Sequence[Kept]
    failures: Sequence[str]
    """What could not be deleted, and why."""

    plans: Sequence[UnusedPlan] = ()
    """Kept plans that nothing needs any more, deleted too."""

    @property
    def bytes(self) -> int:
        """Size of all that was deleted, or would be."""
        return sum(remains.bytes for remains in self.deleted) + sum(plan.bytes for plan in self.plans)


def runs(limit: int, *, as_json: bool) -> int:
    """Print the newest runs."""
    rows = _on_server(lambda: _list(limit), as_json=as_json)
    if as_json:
        print_document(_runs_document(rows))
    else:
        _print_runs(out(), rows, limit)
    return ExitCode.COMPLETED


def prune(older_than: str, *, outputs: bool, dry_run: bool, as_json: bool) -> int:
    """Delete what old runs left behind, or tell what that would be."""
    request = PruneRequest(parse_duration(older_than, "--older-than"), outputs, dry_run)
    pruned = _on_server(lambda: _prune(request), as_json=as_json)
    if as_json:
        print_document(_prune_document(pruned, request))
    else:
        _print_pruned(out(), pruned, request, older_than.strip())
    for failure in pruned.failures:
        complain(failure)
    return ExitCode.INTERNAL if pruned.failures else ExitCode.COMPLETED


def _on_server(question: Callable[[], Coroutine[Any, Any, _T]], *, as_json: bool) -> _T:
    # What is said of the server's start is no part of a list.
    server = find_server(err(), quiet=as_json)
    return ask(server, question())


async def _list(limit: int) -> list[RunRow]:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.history import list_runs
    from vibe_prefect.engine.storage import open_store

    store = await open_store(None)
    async with get_client() as client:
        return await list_runs(client, store, limit)


async def _prune(request: PruneRequest) -> Pruned:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.plan_pruning import unused_plans
    from vibe_prefect.engine.pruning import delete, find_remains, folder_of
    from vibe_prefect.engine.storage import open_store

    store = await open_store(None)
    files = folder_of(store)
    before = datetime.now(UTC) - request.older_than
    async with get_client() as client:
        found, kept = await find_remains(client, files, before, outputs=request.outputs)
        plans = await unused_plans(client, files, before, {remains.namespace for remains in found})
    if request.dry_run:
        return Pruned(found, kept, (), plans)
    deleted: list[Remains] = []
    failures: list[str] = []
    for remains in found:
        try:
            stays = delete(store, remains)
        except OSError as error:
            failures.append(f"cannot delete all of {_title(remains)}: {error}")
            continue
        if stays is None:
            deleted.append(remains)
        else:
            kept.append(stays)
    stay = {remains.namespace for remains in found} - {remains.namespace for remains in deleted}
    return Pruned(deleted, kept, failures, [] if stay else _deleted(plans, failures))


def _deleted(plans: Sequence[UnusedPlan], failures: list[str]) -> list[UnusedPlan]:
    deleted: list[UnusedPlan] = []
    for plan in plans:
        try:
            deleted += [plan] if plan.delete() else []
        except OSError as error:
            failures.append(f"cannot delete the kept plan {plan.path}: {error}")
    return deleted


def _runs_document(rows: Sequence[RunRow]) -> RunsDocument:
    from vibe_prefect.engine.history import total_bytes

    now = datetime.now(UTC)
    records, outputs = total_bytes(rows)
    return RunsDocument(runs=[_listed(row, now) for row in rows], record_bytes=records, output_bytes=outputs)


def _listed(row: RunRow, now: datetime) -> ListedRun:
    return ListedRun(
        run_name=row.run.name,
        run_id=str(row.run.id),
        record_namespace=row.run.record_namespace,
        plan_id=row.run.plan_id,
        state=row.run.state,
        started_at=row.run.started.isoformat() if row.run.started else None,
        age_seconds=round(row.age(now), 3),
        nodes=Counts(done=row.done, total=row.total),
        record_bytes=row.record_bytes,
        outputs=str(row.outputs.path) if row.outputs else None,
        output_bytes=row.outputs.bytes if row.outputs else 0,
    )


def _print_runs(screen: Screen, rows: Sequence[RunRow], limit: int) -> None:
    from vibe_prefect.engine.history import total_bytes

    if not rows:
        screen.say("no plan has run on this Prefect server", "dim")
        return
    words = ("run", "plan", "status", "nodes done", "age", "records", "outputs")
    heading = [Text(word, "dim", justify="right" if index > 2 else "left") for index, word in enumerate(words)]
    for line in columns([heading, *_cells(rows)], screen.limit):
        screen.say(line)
    records, outputs = total_bytes(rows)
    newest = f"the newest {counted(len(rows), 'run')}" if len(rows) == limit else counted(len(rows), "run")
    screen.say()
    screen.say(f"{newest}: {size(records)} of records, {size(outputs)} of outputs", "dim")


def _cells(rows: Sequence[RunRow]) -> list[list[Text]]:
    """Return the table's cells. What several runs share stands with the newest of them."""
    now = datetime.now(UTC)
    seen: set[object] = set()
    cells: list[list[Text]] = []
    for row in rows:
        outputs = row.outputs
        records = _once(row.record_bytes, row.run.record_namespace, seen)
        made = _once(outputs.bytes, outputs.path, seen) if outputs else UNKNOWN
        cells.append(
            [
                Text(one_line(row.run.name), "bold"),
                Text(UNKNOWN if row.run.plan_id is None else one_line(row.run.plan_id)),
                Text(one_line(row.run.state), _STYLES.get(row.run.state, "yellow")),
                *(Text(text, justify="right") for text in (_progress(row), short_age(row.age(now)), records, made)),
            ]
        )
    return cells


def _once(count: int | None, owner: object, seen: set[object]) -> str:
    if count is None:
        return UNKNOWN
    if owner in seen:
        return SHARED
    seen.add(owner)
    return size(count)


def _progress(row: RunRow) -> str:
    return UNKNOWN if row.done is None or row.total is None else f"{row.done:,}/{row.total:,}"


def _prune_document(pruned: Pruned, request: PruneRequest) -> PruneDocument:
    return PruneDocument(
        dry_run=request.dry_run,
        older_than_seconds=request.older_than.total_seconds(),
        deleted=[_pruned_records(remains) for remains in pruned.deleted],
        kept=[
            KeptRecords(record_namespace=kept.namespace, run_names=list(kept.runs), reason=kept.reason)
            for kept in pruned.kept
        ],
        plans=[FileSize(path=str(plan.path), bytes=plan.bytes) for plan in pruned.plans],
        failures=list(pruned.failures),
        bytes=pruned.bytes,
    )


def _pruned_records(remains: Remains) -> PrunedRecords:
    return PrunedRecords(
        record_namespace=remains.namespace,
        run_names=list(remains.runs),
        last_active=remains.last_active.isoformat(),
        record_bytes=remains.records.bytes if remains.records else 0,
        outputs=[FileSize(path=str(folder.path), bytes=folder.bytes) for folder in remains.outputs],
    )


def _print_pruned(screen: Screen, pruned: Pruned, request: PruneRequest, older_than: str) -> None:
    now = datetime.now(UTC)
    rows = [line for remains in pruned.deleted for line in _remains_cells(remains, now)]
    for line in columns(rows, screen.limit):
        screen.say(line)
    for kept in pruned.kept:
        screen.say(Text(f"kept  {_named(kept.runs, kept.namespace)}: {one_line(kept.reason)}", "yellow"))
    verb = "would delete" if request.dry_run else "deleted"
    if pruned.plans:
        plans = size(sum(plan.bytes for plan in pruned.plans))
        screen.say(f"{verb} {counted(len(pruned.plans), 'kept plan')} that nothing needs any more: {plans}")
    if not pruned.deleted and not pruned.plans:
        screen.say(f"nothing to prune that is older than {older_than}", "dim")
        return
    if not pruned.deleted:
        return
    what = "records and outputs" if request.outputs else "records"
    taken = sum(remains.bytes for remains in pruned.deleted)
    runs_ = sum(max(1, len(remains.runs)) for remains in pruned.deleted)
    screen.say(f"{verb} the {what} of {counted(runs_, 'run')} older than {older_than}: {size(taken)}")


def _remains_cells(remains: Remains, now: datetime) -> list[list[Text]]:
    age = short_age(max(0.0, (now - remains.last_active).total_seconds()))
    records = remains.records.bytes if remains.records else 0
    first = [
        Text(_title(remains), "bold"),
        Text(age, justify="right"),
        Text(size(records), justify="right"),
        Text("records"),
    ]
    return [
        first,
        *(
            [Text(""), Text(""), Text(size(f.bytes), justify="right"), Text(one_line(str(f.path)))]
            for f in remains.outputs
        ),
    ]


def _title(remains: Remains) -> str:
    return _named(remains.runs, remains.namespace)


def _named(names: Sequence[str], namespace: str) -> str:
    """Return the names of the runs of a namespace."""
    if not names:
        return f"{namespace} (no run of this server)"
    more = len(names) - MAX_NAMES
    return one_line(", ".join(names[:MAX_NAMES])) + (f" and {more:,} more" if more > 0 else "")
