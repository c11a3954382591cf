"""Replanning by rule: what suggested changes and judgements mean where no model is needed to say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from vibe_prefect.core.feedback import Failure, FailureKind, suggested_changes
from vibe_prefect.core.models import NodePolicy, WorkflowNodeType
from vibe_prefect.llm.provider.calls import ModelLimits
from vibe_prefect.plan.backing import Backing
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.unfold import ListedNodes
from vibe_prefect.provenance import JudgedCriterion, Judgement
from vibe_prefect.replanning.edits import PROMPT, NodeEdit, OpenSuggestion, Replan, edited_plan
from vibe_prefect.replanning.notes import Miss, cut_line, with_note
from vibe_prefect.reporting.next_steps import writers
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.tools.registry import LLM_TOOL, ToolRegistry

MAX_TIMEOUT = 86_400.0
"""Longest timeout that a rule sets, in seconds."""

FIRST_RETRIES = 3
"""Retries of a node that had fewer."""

MAX_RETRIES = 50
"""Most retries that a node may have."""

LEAST_CONTEXT = 500
"""Fewest tokens that a rule leaves a model to read."""

MAX_ERROR = 120
"""Characters of an error in the reason for an edit."""

MISSED = "mend_missed_criteria"
"""Change that a judgement asks for."""

_FOR_A_MODEL = "no rule can do that: replan by a model, or edit the plan"
_GATE_STAYS = "it is a gate, and gates stay as strict as they are: edit the plan"
_TEXT_CHANGES = frozenset({"enhance_output_detail"})
_PATIENCE = frozenset({"increase_timeout", "retry_with_backoff"})
_FOR_PEOPLE: Mapping[FailureKind, tuple[str, str]] = {
    FailureKind.BUDGET: ("larger_budget", "the budget is for a person to decide: resume with a larger one"),
    FailureKind.INPUT: ("other_inputs", "its inputs do not fit: edit the plan"),
}


def replan_by_rule(report: RunReport, compiled: CompiledPlan, tools: ToolRegistry) -> Replan:
    """Edit a plan after a run of it, as far as rules say how.

    Args:
        report: Report of the run.
        compiled: The plan of the run as written, compiled with the tools of today.
        tools: Those tools.
    """
    rules = _Rules(report, compiled, tools)
    for node in concerned_nodes(report):
        rules.take(node)
    edits = tuple(rules.edits)
    return Replan(edited_plan(compiled.plan, edits), edits, open=tuple(rules.open.values()))


def concerned_nodes(report: RunReport) -> tuple[NodeReport, ...]:
    """Return the nodes that failed, or about which the run's feedback suggests something, in plan order."""
    suggested = {str(suggestion.get("node_id")) for suggestion in report.replan_suggestions}
    return tuple(
        node
        for node in report.nodes
        if node.status is ExecutionStatus.FAILED or (node.id in suggested and node.acceptance is None)
    )


def missed_criteria(judgement: Judgement) -> tuple[JudgedCriterion, ...]:
    """Return the criteria that a judgement found missed; the lowest where only the mean is too low."""
    needed = judgement.threshold if judgement.threshold is not None else 1.0
    scored = [criterion for criterion in judgement.criteria if criterion.score is not None]
    missed = [one for one in scored if (one.score or 0.0) < max(one.needed or 0.0, needed)]
    return tuple(missed or sorted(scored, key=lambda one: one.score or 0.0)[:1])


class _Rules:
    """Edits of one plan, collected node by node."""

    def __init__(self, report: RunReport, compiled: CompiledPlan, tools: ToolRegistry) -> None:
        self.open: dict[tuple[str, str], OpenSuggestion] = {}
        self._report = report
        self._compiled = compiled
        self._tools = tools
        self._listed = ListedNodes(compiled)
        self._by_path: dict[tuple[str, tuple[str, ...]], NodeEdit] = {}
        self._misses: dict[str, dict[Miss, str]] = {}

    @property
    def edits(self) -> Iterator[NodeEdit]:
        """The edits: of prompts first, then those of other fields."""
        for id, misses in self._misses.items():
            yield self._note(self._compiled.nodes[id], misses)
        yield from self._by_path.values()

    def take(self, node: NodeReport) -> None:
        """Add the edits that follow from what came of a node."""
        written = self._written(node.id)
        if written is None:
            return
        for_people = _FOR_PEOPLE.get(node.failure_kind) if node.failure_kind is not None else None
        if for_people is not None:
            self._leave(node, *for_people)
            return
        judgement = node.provenance.judgement if node.provenance is not None else None
        if judgement is not None and (node.refused or node.status is ExecutionStatus.COMPLETED):
            self._mend_missed(node, judgement)
            return
        changes = _changes(node)
        done = [self._change(node, written, change) for change in changes]
        if not any(done) and node.status is ExecutionStatus.COMPLETED and not is_gate(written, self._report):
            self._vary(node, written, "low_quality_output", "its quality is low")

    def _written(self, id: str) -> CompiledNode | None:
        """Return a node of the report as the plan has it: of a node that runs for an item, the one written once."""
        if id not in self._compiled.nodes:
            added = self._listed.added(id)
            id = added.template if added is not None else id
        return self._compiled.nodes.get(id)

    def _change(self, node: NodeReport, written: CompiledNode, change: str) -> bool:
        rules: dict[str, Callable[[NodeReport, CompiledNode], NodeEdit | str]] = {
            "increase_timeout": self._longer_timeout,
            "retry_with_backoff": self._more_retries,
            "use_alternative_endpoint": self._next_model,
            "reduce_data_size": self._less_context,
        }
        if change not in _PATIENCE and is_gate(written, self._report):
            self._leave(node, change, _GATE_STAYS)
            return False
        if change in _TEXT_CHANGES:
            return self._more_detail(node, written, change)
        if change == "retry_with_different_parameters":
            error = node.error or "without a message"
            return self._vary(node, written, change, f"it failed: {cut_line(error, MAX_ERROR)}")
        if change not in rules:
            self._leave(node, change, _FOR_A_MODEL)
            return False
        outcome = rules[change](node, written)
        if isinstance(outcome, str):
            self._leave(node, change, outcome)
            return False
        self._by_path.setdefault((outcome.node_id, outcome.path), outcome)
        return True

    def _leave(self, node: NodeReport, change: str, reason: str) -> None:
        self.open[node.id, change] = OpenSuggestion(node.id, change, reason)

    def _longer_timeout(self, node: NodeReport, written: CompiledNode) -> NodeEdit | str:
        timeout = written.policy.timeout
        if timeout is None:
            return (
                "it has no timeout of its own: what it calls ran out of time, and its settings say how long that may be"
            )
        if timeout >= MAX_TIMEOUT:
            return f"its timeout is {timeout:g} s already"
        longer = min(2 * timeout, MAX_TIMEOUT)
        reason = f"{node.id} ran out of time, so its timeout goes from {timeout:g} s to {longer:g} s"
        return NodeEdit(written.id, ("policy", "timeout"), longer, reason)

    def _more_retries(self, node: NodeReport, written: CompiledNode) -> NodeEdit | str:
        retries = written.policy.retries
        if retries >= MAX_RETRIES:
            return f"it has {retries} retries already"
        more = FIRST_RETRIES if retries < FIRST_RETRIES else min(2 * retries, MAX_RETRIES)
        reason = f"the other side of {node.id} did not answer, so it gets {more} retries with growing delays"
        delay = max(1.0, written.policy.retry_delays[0] if written.policy.retry_delays else 1.0)
        for name, value in (("retry_delay", delay), ("retry_backoff", 2.0)):
            edit = NodeEdit(written.id, ("policy", name), value, reason)
            self._by_path.setdefault((edit.node_id, edit.path), edit)
        return NodeEdit(written.id, ("policy", "retries"), more, reason)

    def _next_model(self, node: NodeReport, written: CompiledNode) -> NodeEdit | str:
        limits = self._limits(written)
        if limits is None or "model" not in self._input_names(written):
            return "it names no model that another could take the place of"
        allowed = [model for model in limits.models.config.models if "*" not in model]
        current = written.inputs.get("model") or limits.usual
        later = allowed[allowed.index(current) + 1 :] if current in allowed else allowed
        if not later:
            return f"no further model is allowed after {current!r}"
        reason = f"{current} did not answer {node.id} as it should, so it asks {later[0]}, the next allowed model"
        return NodeEdit(written.id, ("parameters", "tool_inputs", "model"), later[0], reason)

    def _less_context(self, node: NodeReport, written: CompiledNode) -> NodeEdit | str:
        limits = self._limits(written)
        if limits is None or "context_tokens" not in self._input_names(written):
            return "its tool reads its inputs whole: give it less, or split it"
        stated = written.inputs.get("context_tokens")
        tokens = stated if isinstance(stated, int) else limits.context_tokens
        if tokens // 2 < LEAST_CONTEXT:
            return f"it reads {tokens:,} tokens at most already"
        reason = f"{node.id} ran out of memory, so its model reads {tokens // 2:,} tokens at most and not {tokens:,}"
        return NodeEdit(written.id, ("parameters", "tool_inputs", "context_tokens"), tokens // 2, reason)

    def _vary(self, node: NodeReport, written: CompiledNode, change: str, why: str) -> bool:
        """Ask for another variation of a node that a model runs."""
        if self._limits(written) is None and written.tool != LLM_TOOL:
            self._leave(node, change, "it makes the same of the same inputs: change them, or the cause of the failure")
            return False
        policy: NodePolicy = written.node.policy
        last = policy.variation if policy.variation is not None else 1
        new = last + 1 if isinstance(last, int) else f"{last}+"
        edit = NodeEdit(written.id, ("policy", "variation"), new, f"{why}, so {node.id} makes another variation")
        self._by_path.setdefault((edit.node_id, edit.path), edit)
        return True

    def _more_detail(self, node: NodeReport, written: CompiledNode, change: str) -> bool:
        if not takes_prompt(written, self._report):
            self._leave(node, change, "its tool takes no prompt that could ask for more")
            return False
        quotes = (node.preview,) if node.preview else ()
        miss = Miss("detail", "the output was too short; write it out in detail", quotes)
        self._misses.setdefault(written.id, {})[miss] = f"the output of {node.id} was too short"
        return True

    def _mend_missed(self, gate: NodeReport, judgement: Judgement) -> None:
        """Put the criteria that a gate found missed into the prompts of the nodes that it judged."""
        misses = [Miss(one.name, one.reason or "missed", one.quotes) for one in missed_criteria(judgement)]
        if not misses and judgement.evidence:
            misses = [Miss(gate.id, "; ".join(judgement.evidence))]
        judged = [self._written(writer.id) for writer in writers(gate, self._report)]
        prompted = {node.id: node for node in judged if node is not None and takes_prompt(node, self._report)}
        if not (misses and prompted):
            self._leave(gate, MISSED, "no node that it judged takes a prompt: edit the plan, or what it judged")
            return
        for id in prompted:
            names = ", ".join(repr(miss.name) for miss in misses)
            reason = f"{gate.id} found {names} missed, so its prompt says what and quotes it"
            self._misses[id] = dict.fromkeys(misses, reason) | self._misses.get(id, {})

    def _note(self, node: CompiledNode, misses: Mapping[Miss, str]) -> NodeEdit:
        reason = "; ".join(dict.fromkeys(misses.values()))
        if node.backing is Backing.HANDLER:
            text = with_note(node.node.description, tuple(misses), is_template=False)
            return NodeEdit(node.id, ("description",), text, reason)
        return NodeEdit(node.id, PROMPT, with_note(str(node.inputs["prompt"]), tuple(misses)), reason)

    def _limits(self, node: CompiledNode) -> ModelLimits | None:
        return cast("ModelLimits | None", self._tools.traits(node.tool).model_limits)

    def _input_names(self, node: CompiledNode) -> Mapping[str, object]:
        tool = self._tools.get(node.tool) if node.tool is not None else None
        return cast("Mapping[str, object]", tool.spec.input_schema.get("properties", {})) if tool is not None else {}


def is_gate(node: CompiledNode, report: RunReport) -> bool:
    """Return whether a node is a gate: by its type, or since it judged something in the run."""
    made = report.by_id.get(node.id)
    judged = made is not None and made.provenance is not None and made.provenance.judgement is not None
    return judged or node.node.type is WorkflowNodeType.VALIDATE


def takes_prompt(node: CompiledNode, report: RunReport) -> bool:
    """Return whether a node has a prompt that says what to make; a gate has none that an edit may change."""
    if is_gate(node, report):
        return False
    return node.backing is Backing.HANDLER or isinstance(node.inputs.get("prompt"), str)


def _changes(node: NodeReport) -> tuple[str, ...]:
    """Return the changes that the feedback suggests; of a run that left no report, those that the error suggests."""
    if node.fallback is not None:
        return tuple(suggested_changes(Failure(node.fallback.error_type, node.fallback.error)))
    if node.suggestions or node.status is ExecutionStatus.COMPLETED:
        return node.suggestions
    return tuple(suggested_changes(Failure(node.error_type or "", node.error or "")))
