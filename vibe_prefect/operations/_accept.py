"""Acceptance of what a gate refused: a person overrides the gate, and the reason is kept with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client

from vibe_prefect.core.acceptance import Acceptance
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.publish.events import announce_acceptance
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.refusals import Refusal, read_refusal, write_accepted
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_run, report_of_run
from vibe_prefect.engine.runs.recorded_lists import unfold_recorded
from vibe_prefect.engine.runs.resume_target import refuse_claimed
from vibe_prefect.errors import UsageError, did_you_mean, shorten
from vibe_prefect.operations._people import MAX_REASON, one_line, person_name
from vibe_prefect.reporting.next_steps import FAILED_PREFIX, accept_command
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.results import ExecutionStatus, resume_command
from vibe_prefect.settings.package import load_settings


@dataclass(frozen=True)
class AcceptedNode:
    """A gate whose refusal a person has overridden."""

    run_name: str
    """Name of the run in which it refused."""

    node_id: str
    """Id of the gate."""

    verdict: str
    """The gate's verdict, as the run reported it."""

    acceptance: Acceptance
    """Who accepted, when, and why."""

    @property
    def resume_command(self) -> str:
        """Command that runs what depends on the node."""
        return resume_command(self.run_name)


async def accept(
    run: str, node: str, because: str, *, by: str | None = None, storage: str | Path | None = None
) -> AcceptedNode:
    """Accept what a gate refused: a run that resumes takes the node as completed, and runs what depends on it.

    The acceptance holds for what the gate judged. Where the node would judge something else, it judges again.

    Args:
        run: Name or id of the run in which the gate refused.
        node: Id of the gate.
        because: The reason; it is kept in the gate's record, and shown with the gate from then on.
        by: Name of the person who accepts; by default the login name.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The Prefect server does not know the run.
        RunInUseError: A run that uses the same records is not over.
        UsageError: The node is not a gate that refused in this run, or was accepted already; or there is no reason, or
            no name.
    """
    reason, name = one_line(because, "--because", MAX_REASON), person_name(by)
    store = await open_store(storage)
    async with get_client() as client:
        refused_in = await load_run(client, run, store)
        records = Records(store, refused_in.record_namespace)
        await _refusal(client, refused_in, records, node)
        with records.hold() as alone:
            if not alone:
                await refuse_claimed(client, records.namespace)
            refusal = await _refusal(client, refused_in, records, node)
            acceptance = Acceptance(name, reason, datetime.now(UTC).isoformat(timespec="seconds"), refused_in.name)
            await write_accepted(records, refusal.accepted(acceptance))
        if load_settings().events:
            announce_acceptance(refused_in, node, acceptance, refusal.error)
    return AcceptedNode(refused_in.name, node, refusal.error.removeprefix(FAILED_PREFIX), acceptance)


async def _refusal(client: PrefectClient, run: PastRun, records: Records, node: str) -> Refusal:
    """Return the refusal to accept.

    Raises:
        UsageError: There is none that a person may accept.
    """
    known = (await unfold_recorded(run.compiled, records)).compiled().nodes
    if node not in known:
        raise UsageError(f"the run {run.name!r} has no node {shorten(node)}{did_you_mean(node, known)}")
    refusal = await read_refusal(records, known[node].record_id)
    if refusal is None:
        raise UsageError(_not_refused(await report_of_run(client, run, records.store), node))
    if refusal.run_id != str(run.id):
        raise UsageError(
            f"the newest refusal of {node!r} is not by the run {run.name!r}, but by {refusal.run_name!r}; see what "
            f"that run made, and accept it there: {accept_command(refusal.run_name, node)}"
        )
    if (acceptance := refusal.acceptance) is not None:
        raise UsageError(
            f"{acceptance.by} has accepted {node!r} at {acceptance.at} already: {acceptance.because}; to run what "
            f"depends on it: {resume_command(run.name)}"
        )
    if await records.exists(refusal.node_id, refusal.key):
        raise UsageError(f"{node!r} has completed in a later run, so there is nothing to accept")
    return refusal


def _not_refused(report: RunReport, id: str) -> str:
    """Describe a node that no gate's refusal stopped, and name the nodes that can be accepted."""
    node = report.by_id[id]
    found = f"the node {id!r} of the run {report.run_name!r} {_end_of(node)}"
    gates = [other.id for other in report.nodes if other.refused]
    remedy = f"; its gates that refused: {', '.join(gates)}" if gates else "; no gate of this run refused anything"
    return f"{found}, so there is nothing to accept: expected a gate that refused{remedy}"


def _end_of(node: NodeReport) -> str:
    if node.status is ExecutionStatus.COMPLETED:
        return "completed"
    if node.status in (ExecutionStatus.FAILED, ExecutionStatus.SKIPPED):
        return f"{'was skipped' if node.status is ExecutionStatus.SKIPPED else 'failed'} ({shorten(node.error, 200)})"
    return f"is {node.status}"
