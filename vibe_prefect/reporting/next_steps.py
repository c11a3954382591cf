"""What happened to a node, and what helps, in sentences and commands for people.

The contract's codes, such as `retry_with_different_parameters`, stay as data in feedback and reports.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.core.feedback import FROM_TEMPLATE, SIMULATED, FailureKind
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.core.plan_tree import tree_nodes
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import duration, ratio, when
from vibe_prefect.results import ExecutionStatus, resume_command
from vibe_prefect.tools.registry import APPROVE_TOOL, LLM_TOOL

GO_ON = "to go on with what is left"

GO_ON_AFTER = "then, to go on with what is left"
"""Purpose of a resume that needs an answer first."""

REPLAN = "to see which edits of the plan would help; nothing is run"

MAX_SELECTED = 8
"""Number of nodes that a command names one by one, where they run for the items of lists."""

MAX_ACCEPTED = 5
"""Number of refused gates for which the command that accepts is shown."""

FAILED_PREFIX = "Tool execution failed: "
"""Beginning of each error of a tool, which says nothing beside a verdict."""

_FIXED_TOOLS = frozenset({"template_fill", "combine", "write_file", "read_text", "image_card"})
"""Tools of this package that make the same of the same inputs, so that executing them again is no remedy."""

_MORE_BUDGET = re.compile(r"--(?:budget-usd|max-tokens) [\d.]+")

_OUT_OF_TIME = (
    "{node} ran out of time: give it more with `policy: {{timeout: SECONDS}}`, or split it into smaller nodes."
)
_OUT_OF_MEMORY = "{node} ran out of memory: give it less data at once, or split it into smaller nodes."
_NO_ANSWER = (
    "The other side of {node} did not answer as it should: resume the run once it does, allow more attempts with "
    "`policy: {{retries: NUMBER}}`, or name another address or model."
)
_OTHER = "{node} failed: resume the run once the cause is gone, or change the node in the plan and resume with that."
_SHORT = "{node} returned less than 20 characters: ask for more in its description."

SENTENCES: Mapping[str, str] = {
    "increase_timeout": _OUT_OF_TIME,
    "break_into_smaller_tasks": _OUT_OF_TIME,
    "reduce_data_size": _OUT_OF_MEMORY,
    "use_streaming_approach": _OUT_OF_MEMORY,
    "retry_with_backoff": _NO_ANSWER,
    "use_alternative_endpoint": _NO_ANSWER,
    "retry_with_different_parameters": _OTHER,
    "enhance_output_detail": _SHORT,
}

_SLOW_CODES = frozenset({"reduce_task_complexity", "parallelize_subtasks"})


@dataclass(frozen=True, slots=True)
class NextStep:
    """A command that helps after a run, and when to use it."""

    purpose: str
    """Purpose, such as `to write 'post' again, and judge it again`."""

    command: str
    """The shell command."""


def accept_command(run_name: str, node_id: str) -> str:
    """Return the shell command that accepts what a gate refused."""
    return f'vibe-prefect accept {shlex.quote(run_name)} {shlex.quote(node_id)} --because "..."'


def approve_command(run_name: str, node_id: str) -> str:
    """Return the shell command that approves what a node asks about."""
    return f"vibe-prefect approve {shlex.quote(run_name)} {shlex.quote(node_id)}"


def reject_command(run_name: str, node_id: str) -> str:
    """Return the shell command that rejects what a node asks about."""
    return f'vibe-prefect reject {shlex.quote(run_name)} {shlex.quote(node_id)} --because "..."'


def edit_command(run_name: str, node_id: str) -> str:
    """Return the shell command that edits what a node made."""
    return f"vibe-prefect edit {shlex.quote(run_name)} {shlex.quote(node_id)}"


def replan_command(run_name: str) -> str:
    """Return the shell command that shows how the plan of a run could be edited by what came of the run."""
    return f"vibe-prefect replan {shlex.quote(run_name)}"


def next_steps(report: RunReport) -> tuple[NextStep, ...]:
    """Return the commands that help after a run, the best first; empty where nothing is left to do.

    A plain resume is among them only where it may end otherwise than the run did.
    """
    if report.resume_command is None:
        return tuple(_retries(report))
    kinds = {node.failure_kind for node in report.having(ExecutionStatus.FAILED)}
    steps = _answers(report)
    if report.plan_changed:
        purpose = f"{report.plan_file} has changed since the run began; to resume with the edit"
        steps.append(NextStep(purpose, _edit(report)))
    if None in kinds or not kinds or _unfinished(report):
        steps.append(NextStep(GO_ON_AFTER if report.questions else GO_ON, report.resume_command))
    if FailureKind.BUDGET in kinds:
        steps.append(NextStep("to go on with a larger budget", f"{report.resume_command} {_larger_budget(report)}"))
    gates = [node for node in report.nodes if node.refused]
    steps += _refreshes(report, gates)
    steps += _edits(report, gates)
    if _may_be_replanned(report, gates):
        steps.append(NextStep(REPLAN, replan_command(report.run_name)))
    if kinds & {FailureKind.REFUSED, FailureKind.INPUT} and not report.plan_changed:
        steps.append(NextStep("to resume after an edit of the plan", _edit(report)))
    return (*steps, *_acceptances(report, gates[:MAX_ACCEPTED]))


def advice(node: NodeReport, report: RunReport) -> tuple[str, ...]:
    """Return what helps where a node failed or did poorly, and who accepted a gate's refusal; empty for any other."""
    if node.acceptance is not None:
        accepted = node.acceptance
        refused = f"{node.id!r} refused {_judged_words(node, report)} ({ratio(node.quality)})"
        return (f"{refused}; {accepted.by} accepted it on {when(accepted.at)}: {accepted.because}",)
    name = repr(node.id)
    if node.fallback is not None:
        stand_in = node.fallback
        return (f"{name} failed, and {stand_in.origin} stands in: {stand_in.error}",)
    if node.refused:
        ids = [writer.id for writer in writers(node, report)]
        again = f"Write {_listed(ids)} again" if ids else "Change what it judges"
        return (f"{again}, edit the plan, or accept it with a reason.",)
    if node.failure_kind is FailureKind.BUDGET:
        return (f"The budget stopped {name} before a paid call: resume the run with a larger one.",)
    if node.failure_kind is FailureKind.INPUT:
        return (f"The plan gives {name} inputs that it cannot work with: edit the plan, and resume the run with it.",)
    return tuple(_meaning(node, node.suggestions))


def decisions(node: NodeReport, report: RunReport) -> tuple[str, ...]:
    """Return what people decided about a node that completed: an overridden refusal, answers, an edit."""
    if node.status is not ExecutionStatus.COMPLETED:
        return ()
    edit = node.provenance.edited if node.provenance is not None else None
    edited = (f"edited by {edit.by} on {when(edit.at)}",) if edit is not None else ()
    overridden = advice(node, report) if node.acceptance is not None else ()
    return (*overridden, *node.answers, *edited)


def same_failures(report: RunReport) -> tuple[tuple[NodeReport, ...], ...]:
    """Return the failed nodes, those of one error and one kind together, each group where its first node stands."""
    groups: dict[tuple[str, str | None], list[NodeReport]] = {}
    for node in report.having(ExecutionStatus.FAILED):
        groups.setdefault((verdict(node, report), node.failure_kind), []).append(node)
    return tuple(map(tuple, groups.values()))


def verdict(node: NodeReport, report: RunReport) -> str:
    """Return a failed node's error; of a gate that refused, what it refused and why."""
    error = node.error or "no message"
    if not node.refused:
        return error
    return f"{_judged_words(node, report)} was refused by {node.id!r}: {error.removeprefix(FAILED_PREFIX)}"


def suggestion_sentences(suggestion: Mapping[str, Any], report: RunReport) -> tuple[str, ...]:
    """Return what a replan suggestion means; of one about a node that failed, why, and what helps."""
    node = report.by_id.get(str(suggestion.get("node_id")))
    requested = suggestion.get("suggested_changes")
    codes = [str(code) for code in cast("Sequence[Any]", requested)] if isinstance(requested, list | tuple) else []
    if node is None:
        return tuple(codes) or (str(suggestion.get("reason") or suggestion.get("replan_reason") or "suggested"),)
    if node.acceptance is not None or node.fallback is not None:
        return advice(node, report)
    if node.status is ExecutionStatus.FAILED:
        return (verdict(node, report), *advice(node, report))
    low = [f"{node.id!r} scored {ratio(node.quality)}, which is low."] if node.quality is not None else []
    return (*low, *_meaning(node, codes)) or (f"The output of {node.id!r} looks poor: look at it, or have it judged.",)


def to_plan_again(report: RunReport) -> tuple[Mapping[str, Any], ...]:
    """Return the replan suggestions about nodes of which nothing is said elsewhere: neither failed nor overridden."""
    nodes = report.by_id
    told = {
        id
        for id, node in nodes.items()
        if node.status is ExecutionStatus.FAILED or node.acceptance is not None or node.fallback is not None
    }
    return tuple(item for item in report.replan_suggestions if item.get("node_id") not in told)


def judged_nodes(gate: NodeReport, report: RunReport) -> tuple[NodeReport, ...]:
    """Return the nodes whose outputs a gate judged: its dependencies, and those behind other gates."""
    return tuple(_behind_gates(gate, report.by_id, set()))


def writers(gate: NodeReport, report: RunReport) -> tuple[NodeReport, ...]:
    """Return the nodes whose new execution may give a gate something else to judge, the nearest before it."""
    found: dict[str, NodeReport] = {}
    pending, visited = [*judged_nodes(gate, report)], set[str]()
    while pending:
        node = pending.pop(0)
        if node.id in visited:
            continue
        visited.add(node.id)
        if _may_differ(node):
            found[node.id] = node
            continue
        if node.type is WorkflowNodeType.COMPOSITE:
            pending += [child for child in report.nodes if child.parent == node.id]
        pending += [report.by_id[id] for id in node.dependencies if id in report.by_id]
    return tuple(found.values())


def _behind_gates(gate: NodeReport, nodes: Mapping[str, NodeReport], visited: set[str]) -> Iterator[NodeReport]:
    for node in (nodes[id] for id in gate.dependencies if id in nodes and id not in visited):
        visited.add(node.id)
        if node.type is WorkflowNodeType.VALIDATE and node.dependencies:
            yield from _behind_gates(node, nodes, visited)
        else:
            yield node


def _may_differ(node: NodeReport) -> bool:
    """Return whether executing a node again may make something else: a model was asked, or an unknown tool made it."""
    if node.type is WorkflowNodeType.VALIDATE:
        return False
    if node.tool == LLM_TOOL or node.tokens is not None or node.cost_usd is not None:
        return True
    fixed = node.tool in _FIXED_TOOLS or node.remark in (FROM_TEMPLATE, SIMULATED)
    return node.type is WorkflowNodeType.GENERATE and not fixed


def _refreshes(report: RunReport, gates: Sequence[NodeReport]) -> Iterator[NextStep]:
    """Yield the command that writes again what gates refused, where writing it again may make something else."""
    ids = list(dict.fromkeys(writer.id for gate in gates for writer in writers(gate, report)))
    if ids:
        refresh = shlex.quote(" ".join(f"{id}+" for id in _selectors(ids, report)))
        purpose = f"to write {_listed(ids)} again, and have {'it' if len(ids) == 1 else 'them'} judged again"
        yield NextStep(purpose, f"{_resume(report)} --refresh {refresh}")


def _may_be_replanned(report: RunReport, gates: Sequence[NodeReport]) -> bool:
    """Return whether a replan may edit the plan that stands: larger budgets and other inputs are for people."""
    if report.plan_changed or report.questions:
        return False
    failed = report.having(ExecutionStatus.FAILED)
    return any(node.failure_kind is None for node in failed) or any(writers(gate, report) for gate in gates)


def _selectors(ids: Sequence[str], report: RunReport) -> Sequence[str]:
    """Return selectors of nodes: where there are many, one for all nodes of a list."""
    if len(ids) <= MAX_SELECTED:
        return ids
    lists = {item.node.id for item in tree_nodes(report.plan.root_nodes) if item.node.for_each is not None}
    outermost = ((id, next((above for above in _ancestors(id, report) if above in lists), None)) for id in ids)
    return list(dict.fromkeys(id if above is None else f"{above}.*" for id, above in outermost))


def _ancestors(id: str, report: RunReport) -> Sequence[str]:
    """Return the ids of the nodes above one, the outermost first."""
    parents: list[str] = []
    while (parent := report.by_id[id].parent) is not None:
        parents.insert(0, parent)
        id = parent
    return parents


def _retries(report: RunReport) -> Iterator[NextStep]:
    """Yield the command that tries the nodes again for which fallbacks stand in."""
    if ids := [node.id for node in report.nodes if node.fallback is not None]:
        purpose = (
            f"to try {_listed(ids)} again, for which {'a fallback stands' if len(ids) == 1 else 'fallbacks stand'} in"
        )
        yield NextStep(purpose, resume_command(report.run_name))


def _edits(report: RunReport, gates: Sequence[NodeReport]) -> Iterator[NextStep]:
    """Yield the commands that edit what people have rejected, and not what tools have refused."""
    rejected = {node.id: node for gate in gates if gate.tool == APPROVE_TOOL for node in judged_nodes(gate, report)}
    texts = [id for id, node in rejected.items() if node.preview is not None and not node.files and not node.is_group]
    for id in texts[:MAX_ACCEPTED]:
        yield NextStep(f"to edit {id!r} by hand; a resume then asks again", edit_command(report.run_name, id))


def _answers(report: RunReport) -> list[NextStep]:
    """Return the commands that answer the questions of a run."""
    steps: list[NextStep] = []
    for question in report.questions[:MAX_ACCEPTED]:
        shown = _listed(list(question.open_items))
        steps.append(NextStep(f"to approve {shown}", approve_command(report.run_name, question.node_id)))
        steps.append(NextStep("or to reject it", reject_command(report.run_name, question.node_id)))
    return steps


def _acceptances(report: RunReport, gates: Sequence[NodeReport]) -> Iterator[NextStep]:
    for gate in gates:
        purpose = f"to accept {_judged_words(gate, report)} as it is, whatever {gate.id!r} says"
        yield NextStep(purpose, accept_command(report.run_name, gate.id))


def _meaning(node: NodeReport, codes: Iterable[str]) -> Iterator[str]:
    """Yield what codes of suggested changes mean for a node; an unknown code stands for itself."""
    texts = (_slow(node) if code in _SLOW_CODES else SENTENCES.get(code, code) for code in codes)
    yield from dict.fromkeys(text.format(node=repr(node.id)) if text in SENTENCES.values() else text for text in texts)


def _slow(node: NodeReport) -> str:
    return (
        f"{node.id!r} took {duration(node.duration)}, and the plan expects {duration(node.expected)}: split it into "
        "nodes that run side by side, or expect more."
    )


def _judged_words(gate: NodeReport, report: RunReport) -> str:
    return _listed([node.id for node in judged_nodes(gate, report)]) or "the text in its inputs"


def _listed(ids: Sequence[str]) -> str:
    names = [repr(id) for id in ids]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _resume(report: RunReport) -> str:
    return report.resume_command or resume_command(report.run_name)


def _edit(report: RunReport) -> str:
    return f"{_resume(report)} --plan {shlex.quote(report.plan_file) if report.plan_file else 'FILE'}"


def _larger_budget(report: RunReport) -> str:
    """Return the options of the larger budget that the refused calls ask for."""
    errors = (node.error or "" for node in report.nodes if node.failure_kind is FailureKind.BUDGET)
    options = next((found for error in errors if (found := _MORE_BUDGET.findall(error))), None)
    return " ".join(options) if options else "--max-tokens NUMBER"


def _unfinished(report: RunReport) -> bool:
    """Return whether the run broke off before all of its nodes had ended."""
    return report.totals.finished < report.totals.nodes
