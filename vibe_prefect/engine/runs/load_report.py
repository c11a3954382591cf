"""Reports of runs: the report that a run left, or one gathered from the server and from its records."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client

from vibe_prefect.core.feedback import success_feedback
from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord, RecordStore, open_store, usage_of_record
from vibe_prefect.engine.runs.node_snapshots import NodeSnapshot, observe_nodes
from vibe_prefect.engine.runs.recorded_lists import unfold_recorded
from vibe_prefect.engine.runs.resume_target import find_run, newest_run, with_root
from vibe_prefect.errors import RecordStorageError, UsageError
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import report_of
from vibe_prefect.results import FINISHED, ExecutionResult, ExecutionStatus, NodeResult, resume_command

logger = logging.getLogger(__name__)


async def load_report(reference: str | None, storage: str | Path | None = None) -> RunReport:
    """Return the report of a run, whether it has ended, is running, was killed, or ran on another machine.

    Args:
        reference: Its name or id; `None` for the newest run.
        storage: Storage of the records; see `open_store`.

    Raises:
        UnknownRunError: The server does not know the run, or the run has no plan.
    """
    store = await open_store(storage)
    async with get_client() as client:
        return await report_of_run(client, await load_run(client, reference, store), store)


async def report_of_run(client: PrefectClient, run: PastRun, store: RecordStore) -> RunReport:
    """Return the report that a run left at its end, else one from the server and the records.

    Args:
        client: The server's client.
        run: The run, with its plan and its root.
        store: The store of its records.
    """
    return await left_report(run, store) or await report_on(client, run, store)


async def left_report(run: PastRun, store: RecordStore) -> RunReport | None:
    """Return the report that a run left at its end, or when it was suspended.

    `None` when it has done neither, or left no readable report.
    """
    if not run.over and not run.suspended:
        return None
    try:
        report = await Records(store, run.record_namespace).report(str(run.id))
    except UsageError as error:
        logger.warning("%s; what the server and the records know is shown instead", error)
        return None
    return report and replace(report, **_of_the_server(run, report))


def _of_the_server(run: PastRun, report: RunReport) -> dict[str, Any]:
    """Return the parts of a report that are not taken from its file: their values are read, followed and typed."""
    return {
        "run_id": str(run.id),
        "run_name": run.name,
        "state": run.state,
        "output_root": report.output_root if run.owns(report.output_root) else str(run.output_root),
        "resume_command": resume_command(run.name) if report.resume_command else None,
    }


async def wanted_run(client: PrefectClient, reference: str | None, *, waiting: bool = False) -> PastRun:
    """Find a run by its name or id, or the newest run.

    Args:
        client: The server's client.
        reference: The run's name or id; `None` for the newest run.
        waiting: Whether the newest run may be about to begin.

    Raises:
        UnknownRunError: There is no such run.
    """
    return await newest_run(client, waiting=waiting) if reference is None else await find_run(client, reference)


async def load_run(client: PrefectClient, reference: str | None, store: RecordStore) -> PastRun:
    """Return a run with its plan and its root.

    Args:
        client: The server's client.
        reference: Its name or id; `None` for the newest run.
        store: The store of its records.

    Raises:
        UnknownRunError: The server does not know it or a run that it resumes, or its plan is not beside its records.
    """
    run = await wanted_run(client, reference)
    return await with_root(client, await run.with_plan(store))


async def report_on(client: PrefectClient, run: PastRun, store: RecordStore) -> RunReport:
    """Build a run's report from the server and the records.

    Args:
        client: The server's client.
        run: The run, with its plan and its root.
        store: The store of its records.
    """
    sights = await observe_nodes(client, run.id)
    compiled = await _compiled(run, store)
    return report_of(compiled, await _result(run, compiled, sights, store), run.identity)


async def _compiled(run: PastRun, store: RecordStore) -> CompiledPlan:
    """Return the plan of a run, with the nodes of lists as far as its records tell them."""
    try:
        return (await unfold_recorded(run.compiled, Records(store, run.record_namespace))).compiled(templates=True)
    except RecordStorageError:  # reading the results says so
        return run.compiled


def node_result(
    sight: NodeSnapshot, record: NodeRecord | None = None, failed: NodeProvenance | None = None
) -> NodeResult:
    """Build the result of a node from its record where there is one, else from the server's snapshot of it.

    Args:
        sight: The snapshot.
        record: The record.
        failed: Provenance of a node without a record that has failed, also only so far.
    """
    return NodeResult(
        sight.id,
        sight.status,
        result=record["result"] if record else None,
        error=sight.error,
        duration=record["duration"] if record else sight.seconds,
        started_at=record["started_at"] if record else sight.started.isoformat() if sight.started else None,
        reused=sight.reused,
        provenance=NodeProvenance.from_dict(record.get("provenance")) if record else failed,
    )


async def _result(
    run: PastRun, compiled: CompiledPlan, sights: Mapping[str, NodeSnapshot], store: RecordStore
) -> ExecutionResult:
    """Build the result of a run, with the feedback about each recorded node."""
    result = ExecutionResult(compiled.plan.id, run.status)
    if run.started is not None:
        result.started_at = run.started.isoformat()
    records = await _read(store, sights.values())
    failures = await _failures(run, store, sights.values())
    for id, compiled_node in compiled.nodes.items():
        sight = sights.get(id)
        if sight is None:
            continue
        record = records.get(id)
        outcome = node_result(sight, record, failures.get(id))
        result.add_node_result(outcome)
        if record is not None:
            result.add_feedback(id, _learned(compiled_node.node, outcome, record))
        elif outcome.provenance is not None:
            result.add_feedback(id, _learned_of_failure(outcome, outcome.provenance))
    _end(result, run)
    return result


def _end(result: ExecutionResult, run: PastRun) -> None:
    if not run.over or run.ended is None:
        return
    result.completed_at = run.ended.isoformat()
    result.total_duration = run.seconds
    if all(node.status in FINISHED for node in result.node_results.values()):
        result.parallel_efficiency = result.calculate_parallel_efficiency()


def _learned(node: WorkflowNode, result: NodeResult, record: NodeRecord) -> dict[str, Any]:
    return success_feedback(result, node.estimated_duration, usage_of_record(record))


def _learned_of_failure(result: NodeResult, provenance: NodeProvenance) -> dict[str, Any]:
    """Return what is known of a node that failed in a run which left no report: its resources are not."""
    last, judgement = provenance.attempts[-1], provenance.judgement
    quality = judgement.score if judgement else None
    is_last_word = last.error is not None and result.error is not None and last.error[:100] in result.error
    return {
        "error_type": last.error_type if is_last_word else None,
        "resource_usage": {"attempts": len(provenance.attempts)},
        **({} if quality is None else {"measured_quality": quality}),
    }


async def _read(store: RecordStore, sights: Iterable[NodeSnapshot]) -> dict[str, NodeRecord]:
    """Read the records of nodes, except those that are not here, as for a run on another machine."""
    records: dict[str, NodeRecord] = {}
    for sight in sights:
        try:
            record = await store.read_record(sight.record) if sight.record else None
        except RecordStorageError as error:
            logger.warning("The results of nodes are not shown, since the storage did not answer: %s", error.__cause__)
            return records
        if record is not None:
            records[sight.id] = record
    return records


async def _failures(run: PastRun, store: RecordStore, sights: Iterable[NodeSnapshot]) -> dict[str, NodeProvenance]:
    """Read the provenance of the nodes of which an attempt failed in a run."""
    records = Records(store, run.record_namespace)
    failures: dict[str, NodeProvenance] = {}
    for sight in sights:
        if sight.status not in (ExecutionStatus.FAILED, ExecutionStatus.RUNNING):
            continue
        try:
            failure = await records.failure(str(run.id), sight.id)
        except RecordStorageError:
            return failures
        if failure is not None:
            failures[sight.id] = failure
    return failures
