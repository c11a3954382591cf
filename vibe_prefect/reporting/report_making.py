"""The report of a run, made from its plan and its result, during the run or after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from vibe_prefect.core.acceptance import acceptance_in
from vibe_prefect.core.approval import question_in
from vibe_prefect.core.fallback import fallback_of
from vibe_prefect.core.feedback import ANSWERS, EDITED, FailureKind, remark_on
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.core.outputs import MAX_OUTPUT, MAX_PREVIEW, bounded, cut, output_files, preview_of
from vibe_prefect.core.variations import Variations, variations_of
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import GraphNode
from vibe_prefect.reporting.report import BEGUN, RAN, NodeReport, RunReport, spans
from vibe_prefect.reporting.times.critical import measured_path
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult
from vibe_prefect.run.handlers import RESULT_TYPES, output_of
from vibe_prefect.text.sendable import MAX_ERROR

MAX_OUTPUTS = 4_000_000
"""Characters of all outputs together; of later outputs, only the first `MAX_PREVIEW` are kept."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Identity of a run, as the engine knows it beside plan and result."""

    run_id: str
    """Prefect's id of the flow run."""

    run_name: str
    """Prefect's name of the flow run."""

    state: str
    """The name of its state, such as `Crashed`."""

    resume_command: str | None
    """Command that resumes the run; `None` when nothing is left to do."""

    output_root: str
    """The folder, or the address, that the run's files lie below."""

    run_url: str | None
    """Address of the run in Prefect's UI; `None` without a UI."""

    simulated: bool
    """Whether the simulation stood in for all nodes."""

    plan_file: str | None = None
    """Path of the file that the plan came from, as it was named; `None` for any other plan."""

    plan_changed: bool = False
    """Whether that file has changed since the run began."""


def report_of(compiled: CompiledPlan, result: ExecutionResult, run: RunIdentity) -> RunReport:
    """Build the report of a run, during the run or after it.

    Args:
        compiled: The plan that is run.
        result: Its result so far.
        run: Its identity in the engine.
    """
    ended = result.completed_at is not None
    nodes = _nodes(compiled, result)
    return RunReport(
        run_id=run.run_id,
        run_name=run.run_name,
        plan=compiled.plan,
        status=result.status,
        state=run.state,
        started_at=result.started_at,
        ended_at=result.completed_at,
        seconds=result.total_duration if ended else None,
        parallel_efficiency=result.parallel_efficiency if ended else None,
        nodes=nodes,
        groups=compiled.groups,
        edges=compiled.edges,
        critical_path=measured_path(compiled.graph, spans(nodes)),
        replan_suggestions=tuple(bounded(suggestion) for suggestion in result.replan_suggestions),
        resume_command=run.resume_command,
        output_root=run.output_root,
        run_url=run.run_url,
        simulated=run.simulated,
        plan_file=run.plan_file,
        plan_changed=run.plan_changed,
    )


def _nodes(compiled: CompiledPlan, result: ExecutionResult) -> tuple[NodeReport, ...]:
    nodes: list[NodeReport] = []
    room = MAX_OUTPUTS
    for id, graph_node in compiled.graph.nodes.items():
        node_result = result.node_results.get(id) or NodeResult(id, ExecutionStatus.PENDING)
        preview = preview_of(output_of(node_result.result), MAX_OUTPUT if room > 0 else MAX_PREVIEW)
        room -= len(preview or "")
        feedback = result.feedback_data.get(id, {})
        nodes.append(_node(compiled.nodes[id], graph_node, node_result, feedback, preview))
    return tuple(nodes)


def _node(
    compiled: CompiledNode,
    graph_node: GraphNode,
    result: NodeResult,
    feedback: Mapping[str, Any],
    preview: str | None,
) -> NodeReport:
    usage = cast("Mapping[str, Any]", feedback.get("resource_usage", {}))
    output = output_of(result.result)
    expected = compiled.node.estimated_duration
    changes = feedback.get("optimization_suggestions") or feedback.get("suggested_changes")
    return NodeReport(
        id=compiled.id,
        type=compiled.node.type,
        description=compiled.node.description,
        tool=compiled.tool,
        parent=graph_node.parent,
        depth=graph_node.depth,
        dependencies=graph_node.dependencies,
        status=result.status,
        reused=result.reused,
        started_at=result.started_at if result.status in BEGUN else None,
        duration=result.duration if result.status in RAN else None,
        expected=expected,
        quality=feedback.get("measured_quality"),
        efficiency=usage.get("efficiency_ratio") if expected is not None else None,
        attempts=usage.get("attempts"),
        cpu_time=usage.get("cpu_time"),
        cpu_scope=usage.get("scope"),
        memory=usage.get("memory_usage"),
        memory_scope=usage.get("memory_scope"),
        bytes_written=usage.get("bytes_written"),
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cost_usd=usage.get("cost_usd"),
        error=cut(result.error, MAX_ERROR) if result.error is not None else None,
        error_type=feedback.get("error_type"),
        evidence=_texts(feedback.get("evidence")),
        indicators=_texts(feedback.get("replan_indicators")),
        suggestions=_texts(changes),
        files=output_files(output),
        preview=preview,
        remark=_remark(result),
        provenance=result.provenance,
        failure_kind=FailureKind(kind) if (kind := feedback.get("failure_kind")) else None,
        acceptance=acceptance_in(feedback),
        fallback=fallback_of(result.result),
        variations=_shown_variations(result.result),
        answers=_texts(feedback.get(ANSWERS)),
        question=question_in(feedback),
        is_group=_is_group(compiled, result),
        key=compiled.key or None,
        kept_as=compiled.kept_as or None,
    )


def _shown_variations(result: object) -> Variations | None:
    """Return the variations of a node with their outputs cut."""
    variations = variations_of(result)
    if variations is None:
        return None
    shown = tuple(replace(one, output=preview_of(one.output, MAX_PREVIEW)) for one in variations.all)
    return replace(variations, all=shown)


def _remark(result: NodeResult) -> str | None:
    if result.status is not ExecutionStatus.COMPLETED:
        return None
    edited = result.provenance is not None and result.provenance.edited is not None
    return EDITED if edited else remark_on(result.result)


def _is_group(compiled: CompiledNode, result: NodeResult) -> bool:
    """Return whether a node is a composite that nothing but its children runs."""
    if compiled.node.type is not WorkflowNodeType.COMPOSITE or result.status is ExecutionStatus.FAILED:
        return False
    if compiled.backing not in (Backing.COMPOSITE, Backing.SIMULATION):
        return False
    # A report of a past run is made without the handlers of the run: what they returned tells.
    value: object = result.result
    kind = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
    return value is None or kind == RESULT_TYPES[WorkflowNodeType.COMPOSITE]


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(cut(str(value), MAX_PREVIEW) for value in cast("list[Any]", values or []))
