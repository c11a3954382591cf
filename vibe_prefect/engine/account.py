"""What is known of a run: the report that it left, or one gathered from the server and from its records."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.urls import url_for

from vibe_prefect.compiler import (
    Backing,
    CompiledNode,
    CompiledPlan,
    Simulate,
    compile_plan,
    resolve_policy,
)
from vibe_prefect.engine.lineage import SHARED_FOLDER, find_run, newest_run, output_name, root_of
from vibe_prefect.engine.observed import NodeSight, run_status, see_nodes
from vibe_prefect.engine.operator_roots import recorded_output
from vibe_prefect.engine.plan_store import recorded_plan
from vibe_prefect.engine.records import Records, record_namespace
from vibe_prefect.engine.runner import usage_of_record
from vibe_prefect.engine.storage import NodeRecord, RecordStore, open_store
from vibe_prefect.engine.toolbox import configured_registry
from vibe_prefect.errors import PlanError, RecordStorageError, UnknownRunError, UsageError
from vibe_prefect.feedback import success_feedback
from vibe_prefect.graph import build_graph
from vibe_prefect.handlers import tool_of
from vibe_prefect.models import WorkflowNode, WorkflowPlan
from vibe_prefect.reporting.report import RunIdentity, RunReport, report_of
from vibe_prefect.results import FINISHED, ExecutionResult, NodeResult, resume_command
from vibe_prefect.settings import load_settings
from vibe_prefect.tools.registry import ToolRegistry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenRun:
    """A run as the server knows it."""

    flow_run: FlowRun
    """The flow run."""

    root: FlowRun
    """The first run of its resume chain."""

    compiled: CompiledPlan
    """Its plan, as far as it can be compiled here."""

    @property
    def namespace(self) -> str:
        """Namespace of its records."""
        shared = self.flow_run.parameters.get("reuse") == "plan"
        return record_namespace(self.root.id, self.compiled.plan.id, shared=shared)

    @property
    def output_root(self) -> Path:
        """The folder that its files go to."""
        parameters = self.flow_run.parameters
        due = self.root.expected_start_time or self.root.created
        own = output_name(self.root.id, due) if due is not None else str(self.root.id)
        name = SHARED_FOLDER if parameters.get("reuse") == "plan" else own
        output = recorded_output(self.flow_run) or load_settings().output
        return Path(output).resolve() / self.compiled.plan.id / name

    def owns(self, folder: str) -> bool:
        """Tell whether a folder is named, in the end, as the run's own output folder, perhaps on another machine."""
        try:
            return Path(folder).is_absolute() and Path(folder).resolve().parts[-2:] == self.output_root.parts[-2:]
        except (OSError, RuntimeError, ValueError):
            return False


async def account_of(reference: str | None, storage: str | Path | None = None) -> RunReport:
    """Return the report of a run, whether it has ended, still goes on, was killed, or ran on another machine.

    Args:
        reference: Its name or id; `None` for the newest run.
        storage: Where records are kept; see `open_store`.

    Raises:
        UnknownRunError: The server does not know the run, or the run has no plan.
    """
    store = await open_store(storage)
    async with get_client() as client:
        seen = await see_run(client, await wanted_run(client, reference), store)
        return await _left_behind(seen, store) or await report_on(client, seen, store)


async def _left_behind(seen: SeenRun, store: RecordStore) -> RunReport | None:
    """Return the report that a run left at its end; `None` when it has not ended, or left none that can be read."""
    flow_run = seen.flow_run
    if flow_run.state is None or not flow_run.state.is_final():
        return None
    try:
        document = await Records(store, seen.namespace).report(str(flow_run.id))
    except UsageError as error:
        logger.warning("%s; what the server and the records know is shown instead", error)
        return None
    return document and replace(document, **_of_the_server(seen, document))


def _of_the_server(seen: SeenRun, document: RunReport) -> dict[str, Any]:
    """Return the parts of a report that are not taken from its file: what they name is read, followed and typed."""
    flow_run = seen.flow_run
    return {
        "run_id": str(flow_run.id),
        "run_name": flow_run.name,
        "state": flow_run.state_name or document.state,
        "output_root": document.output_root if seen.owns(document.output_root) else str(seen.output_root),
        "resume_command": resume_command(flow_run.name) if document.resume_command else None,
    }


async def wanted_run(client: PrefectClient, reference: str | None) -> FlowRun:
    """Return the run of a name or an id, or the newest one.

    Raises:
        UnknownRunError: There is none.
    """
    return await newest_run(client) if reference is None else await find_run(client, reference)


async def see_run(client: PrefectClient, flow_run: FlowRun, store: RecordStore) -> SeenRun:
    """Return a run with its plan.

    Args:
        client: The server's client.
        flow_run: The run.
        store: Where its records are.

    Raises:
        UnknownRunError: It has no plan, its plan is not with its records, or the server no longer knows a run that it
            goes on from.
    """
    plan = await recorded_plan(flow_run, store)
    if plan is None:
        message = flow_run.state.message if flow_run.state else None
        state = f"it is {flow_run.state_name}{f': {message}' if message else ''}"
        raise UnknownRunError(f"the run {flow_run.name!r} has no plan among its parameters; {state}")
    simulated = bool(flow_run.parameters.get("simulate"))
    return SeenRun(flow_run, await root_of(client, flow_run), compiled_here(plan, simulated=simulated))


async def report_on(client: PrefectClient, seen: SeenRun, store: RecordStore) -> RunReport:
    """Return a run's report, gathered from what the server and the records know.

    Args:
        client: The server's client.
        seen: The run.
        store: Where its records are.
    """
    sights = await see_nodes(client, seen.flow_run.id)
    return report_of(seen.compiled, await _result(seen, sights, store), identity_of(seen))


def compiled_here(plan: WorkflowPlan, *, simulated: bool) -> CompiledPlan:
    """Return a plan compiled with this machine's tools; with its structure alone where they cannot run it.

    Raises:
        PlanError: The plan does not hang together.
    """
    mode = Simulate.ALL if simulated else Simulate.NEVER
    try:
        return compile_plan(plan, tools=configured_registry(), simulate=mode)
    except PlanError:
        return _structure(plan)


def identity_of(seen: SeenRun) -> RunIdentity:
    """Return what the engine calls a run."""
    flow_run = seen.flow_run
    completed = flow_run.state is not None and flow_run.state.is_completed()
    return RunIdentity(
        run_id=str(flow_run.id),
        run_name=flow_run.name,
        state=flow_run.state_name or "Unknown",
        resume_command=None if completed else resume_command(flow_run.name),
        output_root=str(seen.output_root),
        run_url=url_for("flow-run", obj_id=flow_run.id),
        simulated=bool(flow_run.parameters.get("simulate")),
    )


def node_result(sight: NodeSight, record: NodeRecord | None = None) -> NodeResult:
    """Return what came of a node: by its record where there is one, else by what the server knows."""
    return NodeResult(
        sight.id,
        sight.status,
        result=record["result"] if record else None,
        error=sight.error,
        duration=record["duration"] if record else sight.seconds,
        started_at=record["started_at"] if record else sight.started.isoformat() if sight.started else None,
        reused=sight.reused,
    )


async def _result(seen: SeenRun, sights: Mapping[str, NodeSight], store: RecordStore) -> ExecutionResult:
    """Return what has come of a run, with what was learned about each node that left a record."""
    flow_run = seen.flow_run
    result = ExecutionResult(seen.compiled.plan.id, run_status(flow_run.state))
    if flow_run.start_time is not None:
        result.started_at = flow_run.start_time.isoformat()
    records = await _read(store, sights.values())
    for id, place in seen.compiled.nodes.items():
        sight = sights.get(id)
        if sight is None:
            continue
        record = records.get(id)
        found = node_result(sight, record)
        result.add_node_result(found)
        if record is not None:
            result.add_feedback(id, _learned(place.node, found, record))
    _end(result, flow_run)
    return result


def _end(result: ExecutionResult, flow_run: FlowRun) -> None:
    if flow_run.state is None or not flow_run.state.is_final() or flow_run.end_time is None:
        return
    result.completed_at = flow_run.end_time.isoformat()
    result.total_duration = flow_run.total_run_time.total_seconds()
    if all(node.status in FINISHED for node in result.node_results.values()):
        result.parallel_efficiency = result.calculate_parallel_efficiency()


def _learned(node: WorkflowNode, result: NodeResult, record: NodeRecord) -> dict[str, Any]:
    return success_feedback(result, node.estimated_duration, usage_of_record(record))


async def _read(store: RecordStore, sights: Iterable[NodeSight]) -> dict[str, NodeRecord]:
    """Return the records of nodes; none of one that is not here, as for a run on another machine."""
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


def _structure(plan: WorkflowPlan) -> CompiledPlan:
    """Return a plan for showing only: no tool is looked up, and no node has a key."""
    graph = build_graph(plan)
    policy, tools = resolve_policy(), ToolRegistry()
    nodes = {
        id: CompiledNode(place.node, "", Backing.HANDLER, tool_of(place.node, tools), policy, place.dependencies)
        for id, place in graph.nodes.items()
    }
    return CompiledPlan(plan, graph, nodes, {})
