"""Drafts: a model's answer as data, and the checks that make a valid plan of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from vibe_prefect.core.models import Vibe, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.plan_tree import data_nodes, tree_nodes
from vibe_prefect.errors import PlanError, Problem
from vibe_prefect.llm.json_answer import read_json_answer
from vibe_prefect.plan.compiler import CompiledPlan, Simulate, compile_plan, whole_error
from vibe_prefect.plan.graph import PlanLimits
from vibe_prefect.plan.reading.plan_file import plan_of_data
from vibe_prefect.planning.catalog import OWN_FIELDS, REASON
from vibe_prefect.planning.sources import source_problems
from vibe_prefect.tools.registry import ToolRegistry

MAX_NODES = 300
"""Nodes of a plan that a model writes, at most."""

MAX_REASON = 500
"""Characters of the reason for a node; the rest is cut off."""

_LIMITS = PlanLimits(max_nodes=MAX_NODES)
_NOT_IN_ID = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class DraftRules:
    """Limits of the plans that a model writes: the tools, files and node types that they may name."""

    tools: ToolRegistry
    """The tools that nodes may name."""

    sources: tuple[str, ...] = ()
    """Files, folders and globs below the input folder that nodes may read."""

    handled_types: Collection[WorkflowNodeType] = ()
    """Node types for which the caller has a handler of their own."""

    simulate: Simulate = Simulate.NEVER
    """Which nodes the simulation stands in for."""

    id: str | None = None
    """The plan's id; `None` where the model names it."""

    further_check: Callable[[CompiledPlan], None] | None = None
    """Raises a `PlanError` for what the settings refuse besides, such as an unknown placement."""

    required_inputs: frozenset[str] = frozenset()
    """Names of the inputs that may have no default, since a person has declared them so."""

    open_gates: frozenset[str] = frozenset()
    """Ids of the gates that may have a fallback, since a person has given them one."""


@dataclass(frozen=True)
class Draft:
    """Draft that is a valid plan."""

    compiled: CompiledPlan
    """The plan, compiled."""

    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Reasons for the nodes by their ids, as the model states them."""

    @property
    def plan(self) -> WorkflowPlan:
        """The plan."""
        return self.compiled.plan


def read_draft(answer: str, vibe: Vibe, rules: DraftRules) -> Draft:
    """Read a model's answer, and check it as a plan that is about to run; see `checked_draft`.

    Raises:
        AnswerJSONError: The answer is not one JSON object.
        PlanError: It is not a valid plan.
    """
    return checked_draft(read_json_answer(answer).data, vibe, rules)


def checked_draft(data: dict[str, Any], vibe: Vibe, rules: DraftRules) -> Draft:
    """Check a model's draft as a plan that is about to run.

    The vibe is the caller's, whatever the draft says.

    Args:
        data: The draft, which is changed.
        vibe: The wish that the plan is made from.
        rules: What the plan may be made of.

    Raises:
        PlanError: It is not a valid plan, with every problem that was found.
    """
    reasons = dict(_taken_reasons(data))
    for name in OWN_FIELDS:
        data.pop(name, None)
    data = {"id": _id_of(vibe), **data} if rules.id is None else {**data, "id": rules.id}
    compiled = _compiled(data | {"source_vibe": vibe, "created_at": datetime.now(UTC).isoformat()}, rules)
    if rules.further_check is not None:
        rules.further_check(compiled)
    if problems := list(_planning_problems(compiled, rules)):
        raise PlanError(problems, compiled.plan.id)
    _set_estimate(compiled.plan)
    return Draft(compiled, {id: reason for id, reason in reasons.items() if id in compiled.nodes})


def _taken_reasons(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Take the reasons out of the nodes of a draft."""
    for _, value in data_nodes(data):
        if isinstance(value, dict):
            node = cast("dict[str, Any]", value)
            reason, id = node.pop(REASON, None), node.get("id")
            if isinstance(reason, str) and isinstance(id, str) and reason.strip():
                yield id, " ".join(reason.split())[:MAX_REASON]


def _id_of(vibe: Vibe) -> str:
    words = _NOT_IN_ID.sub("-", vibe.description.casefold()).strip("-").split("-")
    return "-".join(words[:6])[:60].strip("-") or "plan"


def _compiled(data: dict[str, Any], rules: DraftRules) -> CompiledPlan:
    try:
        loaded = plan_of_data(data)
    except PlanError as error:
        raise whole_error(
            error, tools=rules.tools, handled_types=rules.handled_types, simulate=rules.simulate, limits=_LIMITS
        ) from None
    return compile_plan(
        loaded.plan, tools=rules.tools, handled_types=rules.handled_types, simulate=rules.simulate, limits=_LIMITS
    )


def _planning_problems(compiled: CompiledPlan, rules: DraftRules) -> Iterator[Problem]:
    """Yield what a person may write into a plan, and a model may not."""
    if not compiled.nodes:
        yield Problem("the plan has no nodes", field="root_nodes")
    for name, schema in compiled.plan.inputs.items():
        if "default" not in schema and name not in rules.required_inputs:
            yield Problem("it needs a default: the plan must run as it stands", field=f"inputs.{name}")
    for id in gates_with_fallbacks(compiled.plan) - rules.open_gates:
        yield Problem("a gate takes no fallback from a model: what it refuses would go on", id, "on_error")
    yield from source_problems(compiled, rules.tools, rules.sources)


def gates_with_fallbacks(plan: WorkflowPlan) -> frozenset[str]:
    """Return the ids of the gates that have a fallback, so that what depends on them runs whatever they refuse."""
    nodes = (item.node for item in tree_nodes(plan.root_nodes))
    return frozenset(node.id for node in nodes if node.type is WorkflowNodeType.VALIDATE and node.on_error is not None)


def _set_estimate(plan: WorkflowPlan) -> None:
    """Set the plan's expected duration: that of all nodes together, as the reference counts it."""
    estimates = [item.node.estimated_duration for item in tree_nodes(plan.root_nodes)]
    if any(estimates):
        plan.estimated_total_duration = sum(filter(None, estimates))
