"""`vibe-prefect runs` and `prune`: the list of runs, and the deletion of old records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.documents import (
    Counts,
    FileSize,
    KeptRecords,
    ListedRun,
    PruneDocument,
    PrunedRecords,
    RunsDocument,
    print_document,
)
from vibe_prefect.cli.display.lines import columns, counted, one_line, size
from vibe_prefect.cli.exits import ExitCode, complain
from vibe_prefect.cli.process.environment import Server, ask
from vibe_prefect.cli.reading.durations import parse_duration, short_age

if TYPE_CHECKING:
    from vibe_prefect.engine.runs.pruning import Remains
    from vibe_prefect.engine.runs.run_list import RunRow
    from vibe_prefect.operations import Pruned

SHARED = "shared"
"""Text in place of a size where a newer run of the list has the same records or outputs."""

UNKNOWN = "-"
_STYLES = {"Completed": "green", "Failed": "red", "Crashed": "red", "Running": "cyan"}


@dataclass(frozen=True)
class PruneRequest:
    """Arguments of the command `prune`."""

    older_than: timedelta
    outputs: bool
    dry_run: bool


def runs(limit: int, *, as_json: bool) -> int:
    """Print the newest runs."""
    server = _server(as_json=as_json)
    from vibe_prefect.operations import list_runs

    rows = ask(server, list_runs(limit))
    if as_json:
        print_document(runs_document(rows))
    else:
        _print_runs(out(), rows, limit)
    return ExitCode.COMPLETED


def prune(older_than: str, *, outputs: bool, dry_run: bool, as_json: bool) -> int:
    """Delete the records of old runs, or only list them; returns the exit code."""
    request = PruneRequest(parse_duration(older_than, "--older-than"), outputs, dry_run)
    server = _server(as_json=as_json)
    from vibe_prefect.operations import prune as delete_old

    pruned = ask(server, delete_old(request.older_than, outputs=outputs, dry_run=dry_run))
    if as_json:
        print_document(_prune_document(pruned, request))
    else:
        _print_pruned(out(), pruned, request, older_than.strip())
    for failure in pruned.failures:
        complain(one_line(failure))
    return ExitCode.INTERNAL if pruned.failures else ExitCode.COMPLETED


def _server(*, as_json: bool) -> Server:
    # Messages about the server's start are not part of a list.
    return find_server(err(), quiet=as_json)


def runs_document(rows: Sequence[RunRow]) -> RunsDocument:
    """Return runs as a JSON document."""
    from vibe_prefect.engine.runs.run_list import total_bytes

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
    from vibe_prefect.engine.runs.run_list import total_bytes

    if not rows:
        screen.say("no plan has run on this Prefect server", "dim")
        return
    titles = ("run", "plan", "status", "nodes done", "age", "records", "outputs")
    heading = [Text(word, "dim", justify="right" if index > 2 else "left") for index, word in enumerate(titles)]
    for line in columns([heading, *_cells(rows)], screen.limit):
        screen.say(line)
    records, outputs = total_bytes(rows)
    newest = f"the newest {counted(len(rows), 'run')}" if len(rows) == limit else counted(len(rows), "run")
    screen.say()
    screen.say(f"{newest}: {size(records)} of records, {size(outputs)} of outputs", "dim")


def _cells(rows: Sequence[RunRow]) -> list[list[Text]]:
    """Return the table's cells. Records or outputs that several runs share stand with the newest of them."""
    now = datetime.now(UTC)
    owners: set[object] = set()
    cells: list[list[Text]] = []
    for row in rows:
        outputs = row.outputs
        records = _once(row.record_bytes, row.run.record_namespace, owners)
        produced = _once(outputs.bytes, outputs.path, owners) if outputs else UNKNOWN
        cells.append(
            [
                Text(one_line(row.run.name), "bold"),
                Text(UNKNOWN if row.run.plan_id is None else one_line(row.run.plan_id)),
                Text(one_line(row.run.state), _STYLES.get(row.run.state, "yellow")),
                *(Text(text, justify="right") for text in (_progress(row), short_age(row.age(now)), records, produced)),
            ]
        )
    return cells


def _once(count: int | None, owner: object, owners: set[object]) -> str:
    if count is None:
        return UNKNOWN
    if owner in owners:
        return SHARED
    owners.add(owner)
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
        screen.say(Text(f"kept  {one_line(kept.title)}: {one_line(kept.reason)}", "yellow"))
    verb = "would delete" if request.dry_run else "deleted"
    if pruned.plans:
        plans = size(sum(plan.bytes for plan in pruned.plans))
        screen.say(f"{verb} {counted(len(pruned.plans), 'kept plan')} that nothing needs any more: {plans}")
    if not pruned.deleted and not pruned.plans:
        screen.say(f"nothing to prune that is older than {older_than}", "dim")
        return
    if not pruned.deleted:
        return
    subject = "records and outputs" if request.outputs else "records"
    freed = sum(remains.bytes for remains in pruned.deleted)
    runs_ = sum(max(1, len(remains.runs)) for remains in pruned.deleted)
    screen.say(f"{verb} the {subject} of {counted(runs_, 'run')} older than {older_than}: {size(freed)}")


def _remains_cells(remains: Remains, now: datetime) -> list[list[Text]]:
    age = short_age(max(0.0, (now - remains.last_active).total_seconds()))
    records = remains.records.bytes if remains.records else 0
    first = [
        Text(one_line(remains.title), "bold"),
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
