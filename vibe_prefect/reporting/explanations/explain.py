"""Explanation of a node: which run, model and prompt made its result, and why that was accepted or refused.

It is derived from a run's report alone, so it is the same during the run, after it and on another machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from vibe_prefect.core.models import WorkflowNode, WorkflowNodeType
from vibe_prefect.core.plan_tree import tree_nodes
from vibe_prefect.errors import UsageError, did_you_mean
from vibe_prefect.provenance import Attempt, Edit, JudgedCriterion, Judgement, ModelCall, RunLabel, ToolCall
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import ratio
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.run.call_notes import kept_inputs
from vibe_prefect.text.escape import line
from vibe_prefect.text.units import counted

MAX_CAUSES = 5
"""Failed nodes that explain why a node was skipped."""

MAX_REASON = 600
"""Characters of an error in the sentence that says why."""


class Decision(StrEnum):
    """Decision about a node's result."""

    ACCEPTED = "accepted"
    """It completed, and no gate refused it."""

    REFUSED = "refused"
    """It is a gate that did not pass, or such a gate refused it."""

    REPLACED = "replaced"
    """Its work failed, and a fallback stands in for its output."""

    FAILED = "failed"
    """Its work failed."""

    SKIPPED = "skipped"
    """It was not executed, since something that it waits for did not complete, or it was not selected."""

    UNDECIDED = "undecided"
    """It is at work, or the run has not come to it."""


@dataclass(frozen=True, slots=True)
class GateJudgement:
    """Judgement of a gate on what a node made."""

    node_id: str
    """Id of the gate."""

    judgement: Judgement | None
    """Its judgement; `None` where it did not judge."""

    status: ExecutionStatus
    """Status of the gate."""

    remark: str | None
    """Reservation about it, such as that nothing was judged."""


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """Explanation of one node of a run."""

    node_id: str
    """Id of the node."""

    type: WorkflowNodeType
    """Kind of work."""

    description: str
    """Task of the node."""

    tool: str | None
    """Tool that ran it, when one did."""

    status: ExecutionStatus
    """Status of the node."""

    decision: Decision
    """Whether its result was accepted."""

    why: str
    """Reason of the decision, as a sentence."""

    reused: bool
    """Whether the run reused it."""

    executed_by: RunLabel | None
    """Run that executed it; `None` where it was not executed, or where that is not known."""

    duration: float | None
    """Seconds of all attempts."""

    cost_usd: float | None
    """Price of its calls to models in US dollars, of all attempts."""

    error_type: str | None
    """Class name of the exception that ended it."""

    error: str | None
    """Text of that exception, or the reason why it was skipped."""

    attempts: tuple[Attempt, ...]
    """Attempts, first to last."""

    judgement: Judgement | None
    """Judgement that it made as a gate."""

    gates: tuple[GateJudgement, ...]
    """Judgements of the gates that depend on it, or on a composite around it."""

    tool_calls: tuple[ToolCall, ...]
    """Tool calls of its last attempt."""

    tool_calls_left_out: int
    """Number of further tool calls, which are not kept."""

    parameters: Mapping[str, Any]
    """Its parameters as the plan has them, templates included."""

    edited: Edit | None
    """Edit of its output by a person; `None` where it is as the node made it."""

    provenance_known: bool
    """Whether the attempts and calls were kept; not so by versions before this one, or where the run was killed."""

    @property
    def model_calls(self) -> tuple[ModelCall, ...]:
        """Calls to models of the last attempt, in order."""
        return tuple(call for tool_call in self.tool_calls for call in tool_call.model_calls)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return _adapter().dump_python(self, mode="json")


def explain(report: RunReport, node_id: str) -> NodeExplanation:
    """Explain a node of a run.

    Args:
        report: Report of the run.
        node_id: The node's id.

    Raises:
        UsageError: The run has no such node.
    """
    node = report.by_id.get(node_id)
    if node is None:
        known = did_you_mean(node_id, report.by_id) or f"; its nodes: {line(', '.join(report.by_id), MAX_REASON)}"
        raise UsageError(f"the run {report.run_name!r} has no node {node_id!r}{known}")
    return Explainer(report).explain(node)


def explain_all(report: RunReport) -> Iterator[NodeExplanation]:
    """Explain every node of a run, in plan order."""
    explainer = Explainer(report)
    return (explainer.explain(node) for node in report.nodes)


class Explainer:
    """Explains the nodes of one report."""

    def __init__(self, report: RunReport) -> None:
        self._report = report
        self._planned: dict[str, WorkflowNode] = {
            item.node.id: item.node for item in tree_nodes(report.plan.root_nodes)
        }
        self._sources: dict[str, list[str]] = {node.id: [] for node in report.nodes}
        self._gates: dict[str, list[NodeReport]] = {node.id: [] for node in report.nodes}
        for edge in report.edges:
            self._sources[edge.target].append(edge.source)
        for node in report.nodes:
            for dependency in node.dependencies if _is_gate(node) else ():
                self._gates[dependency].append(node)

    def decide(self, node: NodeReport) -> tuple[Decision, str]:
        """Return the decision about a node's result, and why; quicker than the whole explanation."""
        return self._decision(node, self._judgements_on(node))

    def explain(self, node: NodeReport) -> NodeExplanation:
        """Return the explanation of a node."""
        provenance = node.provenance
        gates = self._judgements_on(node)
        decision, why = self._decision(node, gates)
        return NodeExplanation(
            node_id=node.id,
            type=node.type,
            description=node.description,
            tool=node.tool,
            status=node.status,
            decision=decision,
            why=why,
            reused=node.reused,
            executed_by=provenance.run if provenance else None,
            duration=node.duration,
            cost_usd=node.cost_usd,
            error_type=node.error_type,
            error=node.error,
            attempts=provenance.attempts if provenance else (),
            judgement=_judgement_of(node),
            gates=gates,
            tool_calls=provenance.tool_calls if provenance else (),
            tool_calls_left_out=provenance.tool_calls_left_out if provenance else 0,
            edited=provenance.edited if provenance else None,
            parameters=kept_inputs(self._planned[node.id].parameters),
            provenance_known=provenance is not None or node.question is not None,
        )

    def _judgements_on(self, node: NodeReport) -> tuple[GateJudgement, ...]:
        return tuple(
            GateJudgement(gate.id, _judgement_of(gate), gate.status, gate.remark) for gate in self._gates_over(node)
        )

    def _gates_over(self, node: NodeReport) -> Iterator[NodeReport]:
        """Yield the gates that depend on a node or on a composite around it."""
        current: NodeReport | None = node
        while current is not None:
            yield from self._gates[current.id]
            current = self._report.by_id[current.parent] if current.parent is not None else None

    def _decision(self, node: NodeReport, gates: tuple[GateJudgement, ...]) -> tuple[Decision, str]:
        match node.status:
            case ExecutionStatus.COMPLETED:
                return _completed(node, gates)
            case ExecutionStatus.FAILED:
                return _failed(node)
            case ExecutionStatus.SKIPPED:
                return Decision.SKIPPED, self._skipped(node)
            case ExecutionStatus.RUNNING:
                return Decision.UNDECIDED, self._at_work(node)
            case _ if node.question is not None:
                asked = f"it waits for an answer since {node.question.asked_at}"
                return Decision.UNDECIDED, f"{asked}: {line(node.question.text, MAX_REASON)}"
            case _ if node.error:
                return Decision.UNDECIDED, line(node.error, MAX_REASON)
            case _:
                return Decision.UNDECIDED, "the run has not come to it" if self._goes_on else "the run ended before it"

    @property
    def _goes_on(self) -> bool:
        return self._report.status in (ExecutionStatus.RUNNING, ExecutionStatus.PENDING)

    def _at_work(self, node: NodeReport) -> str:
        begun = "it is at work" if self._goes_on else "the run ended while it was at work"
        errors = [attempt.error for attempt in node.provenance.attempts if attempt.error] if node.provenance else []
        return f"{begun}; its last attempt failed: {line(errors[-1], MAX_REASON)}" if errors else begun

    def _skipped(self, node: NodeReport) -> str:
        reason = line(node.error or "no reason is known", MAX_REASON)
        causes = [
            f"{cause.id!r} {decision}: {why}"
            for cause in self._failed_above(node)
            for decision, why in [_failed(cause)]
        ]
        return "; ".join([reason, *causes])

    def _failed_above(self, node: NodeReport) -> list[NodeReport]:
        """Return the nearest failed nodes among all that a node waits for."""
        found: list[NodeReport] = []
        pending, seen = deque([node.id]), {node.id}
        while pending and len(found) < MAX_CAUSES:
            for source in self._sources[pending.popleft()]:
                if source in seen:
                    continue
                seen.add(source)
                above = self._report.by_id[source]
                if above.status is ExecutionStatus.FAILED:
                    found.append(above)
                else:
                    pending.append(source)
        return found[:MAX_CAUSES]


def _is_gate(node: NodeReport) -> bool:
    """Return whether a node judges what it depends on; one that only measures its own output is no gate."""
    judgement = node.provenance.judgement if node.provenance else None
    states_how = judgement is not None and (bool(judgement.criteria) or judgement.threshold is not None)
    return node.type is WorkflowNodeType.VALIDATE or states_how


def _judgement_of(node: NodeReport) -> Judgement | None:
    """Return a node's judgement; one that only the feedback knows has neither criteria nor a threshold."""
    judgement = node.provenance.judgement if node.provenance else None
    if judgement is None and node.quality is not None:
        return Judgement(node.status is ExecutionStatus.COMPLETED, node.quality, evidence=node.evidence)
    return judgement


def _completed(node: NodeReport, gates: tuple[GateJudgement, ...]) -> tuple[Decision, str]:
    own, is_gate = _judgement_of(node), _is_gate(node)
    if node.fallback is not None:
        failed = node.fallback
        return Decision.REPLACED, f"it failed, and {failed.origin} stands in: {failed.error_type}: {failed.error}"
    best = f"; {node.variations}" if node.variations is not None else ""
    if own is not None and is_gate:
        return Decision.ACCEPTED, f"it gave {_score(own)}"
    judged = [(gate.node_id, gate.judgement) for gate in gates if gate.judgement is not None]
    refused = [(id, judgement) for id, judgement in judged if not judgement.passed]
    if judged:
        words = [f"the gate {id!r} gave it {_score(judgement)}" for id, judgement in refused or judged]
        return Decision.REFUSED if refused else Decision.ACCEPTED, "; ".join(words) + best
    if best:
        return Decision.ACCEPTED, f"it is {node.variations}"
    return Decision.ACCEPTED, _unjudged(node, gates) if own is None else f"it measured itself: {_score(own)}"


def _unjudged(node: NodeReport, gates: tuple[GateJudgement, ...]) -> str:
    if node.remark is not None:
        return f"it completed without an error; {node.remark}"
    if gates:
        words = [f"{gate.node_id!r} is {gate.remark or gate.status}" for gate in gates]
        return f"it completed without an error, and no gate has judged it: {', '.join(words)}"
    return "it completed without an error; no gate judges it"


def _failed(node: NodeReport) -> tuple[Decision, str]:
    own = _judgement_of(node)
    if own is not None and not own.passed:
        return Decision.REFUSED, f"it gave {_score(own)}"
    tries = node.provenance.attempts if node.provenance else ()
    times = f"after {counted(len(tries), 'attempt')}: " if len(tries) > 1 else ""
    kind = f"{node.error_type}: " if node.error_type else ""
    reason = line(node.error or "no message", MAX_REASON)
    before = tries[-1].error if tries else None
    is_other = before is not None and line(before, 100).rstrip("…") not in reason
    earlier = f"; attempt {len(tries)} had failed: {line(before, MAX_REASON)}" if before and is_other else ""
    return Decision.FAILED, f"{times}{kind}{reason}{earlier}"


def _score(judgement: Judgement) -> str:
    """Return a score with what decided about it, such as `0.40 (0.70 needed; lowest: clear 0.20)`."""
    needed = [] if judgement.threshold is None else [f"{ratio(judgement.threshold)} needed"]
    scores = sorted((one for one in judgement.criteria if one.score is not None), key=lambda one: one.score or 0.0)
    lacking = [one for one in scores if one.needed is not None and (one.score or 0.0) < one.needed]
    lowest = lacking or [one for one in scores[:1] if one.score != 1]
    named = [f"lowest: {', '.join(map(_criterion, lowest))}"] if lowest else []
    details = "; ".join([*needed, *named])
    return f"{ratio(judgement.score)} ({details})" if details else ratio(judgement.score)


def _criterion(criterion: JudgedCriterion) -> str:
    needed = f" of {ratio(criterion.needed)} needed" if criterion.needed is not None else ""
    return f"{line(criterion.name, 100)} {ratio(criterion.score)}{needed}"


@cache
def _adapter() -> TypeAdapter[NodeExplanation]:
    return TypeAdapter(NodeExplanation)
