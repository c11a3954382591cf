"""Cost of a run: the most it can be, by the rules of the budget, and the likely one, by what an earlier run paid.

Each node that runs on a model makes one call when nothing goes wrong. It reads at most what the operator allows for a
call, and less where that is certain: a node whose prompt holds no template, and whose dependencies all run on models,
reads its prompt and what those may write. It writes at most what the operator allows for an answer.

A node on another paid tool costs what the tool's `most_cost` says; the tokens of a picture are only known afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from vibe_prefect.core.budget import PRICE_IT, Spending
from vibe_prefect.core.models import BestOf
from vibe_prefect.llm.provider.calls import ModelLimits
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.node_tools import scorer_inputs
from vibe_prefect.templates.texts import walk_templates
from vibe_prefect.tools.base import ToolTraits
from vibe_prefect.tools.registry import ToolRegistry


@dataclass(frozen=True, slots=True)
class CostForecast:
    """Cost of a run's calls, retries apart."""

    calls: int
    """Number of calls."""

    most: Spending
    """The most that all of them can cost together."""

    known: int
    """Number of calls whose cost is known from earlier runs."""

    likely: Spending
    """Cost of those calls in the earlier runs."""

    tools: tuple[str, ...] = ()
    """The tools that make them, sorted."""

    price_it: tuple[str, ...] = ()
    """The settings to make where prices are not known."""


def cost_forecast(
    compiled: CompiledPlan,
    runs: Collection[str],
    tools: ToolRegistry,
    earlier: Mapping[str, Spending] | None = None,
) -> CostForecast | None:
    """Estimate the cost of a run; `None` where it pays for nothing.

    Args:
        compiled: The plan.
        runs: Ids of the nodes that would run.
        tools: The tools it was compiled against.
        earlier: What nodes cost in earlier runs, by their ids.
    """
    calls = {id: cost for id in runs if (cost := _most(compiled, compiled.nodes[id], tools)) is not None}
    if not calls:
        return None
    paid = earlier or {}
    payments = [paid[id] for id in calls if id in paid]
    unpriced = {name for id, cost in calls.items() if cost.usd is None for name in _payers(compiled.nodes[id], tools)}
    settings = (tools.traits(name).price_setting for name in unpriced)
    count = {id: _calls(compiled.nodes[id], tools) for id in calls}
    return CostForecast(
        sum(count.values()),
        sum(calls.values(), Spending()),
        sum(count[id] for id in calls if id in paid),
        sum(payments, Spending()),
        tuple(sorted({name for id in calls for name in _payers(compiled.nodes[id], tools)})),
        tuple(sorted({f"set {setting}" if setting else PRICE_IT for setting in settings})),
    )


def paying_nodes(compiled: CompiledPlan, runs: Collection[str], tools: ToolRegistry) -> tuple[str, ...]:
    """Return the nodes that would pay for something, of those that would run; see `cost_forecast`."""
    return tuple(id for id in runs if _most(compiled, compiled.nodes[id], tools) is not None)


def _payers(node: CompiledNode, tools: ToolRegistry) -> tuple[str, ...]:
    """Return the tools of a node that pay for something."""
    return tuple(name for name in (node.tool, node.scorer) if name is not None and _pays(tools.traits(name)))


def _pays(traits: ToolTraits) -> bool:
    return traits.model_limits is not None or traits.most_cost is not None


def _calls(node: CompiledNode, tools: ToolRegistry) -> int:
    """Return the number of paid calls of a node: where it makes variations, those of each and of its scoring."""
    times = node.node.best_of.n if node.scorer is not None and node.node.best_of is not None else 1
    return times * len(_payers(node, tools))


def _most(compiled: CompiledPlan, node: CompiledNode, tools: ToolRegistry) -> Spending | None:
    """Return the most that a node's calls can cost; `None` where it pays for nothing."""
    call = _most_of_call(compiled, node, tools)
    choice = node.node.best_of
    if node.scorer is None or choice is None:
        return call
    scoring = _most_of_scoring(node.scorer, choice, tools)
    costs = [cost for cost in (call, scoring) if cost is not None]
    return sum(costs * choice.n, Spending()) if costs else None


def _most_of_call(compiled: CompiledPlan, node: CompiledNode, tools: ToolRegistry) -> Spending | None:
    traits = tools.traits(node.tool)
    if traits.model_limits is not None:
        return _most_of_model(compiled, node, traits.model_limits, tools)
    return traits.most_cost(node.inputs) if traits.most_cost is not None else None


def _most_of_scoring(scorer: str, choice: BestOf, tools: ToolRegistry) -> Spending | None:
    traits, inputs = tools.traits(scorer), scorer_inputs(choice)
    if traits.model_limits is not None:
        model = inputs.get("model")
        limits = cast("ModelLimits", traits.model_limits)
        return limits.spending(model if isinstance(model, str) else None, limits.context_tokens, None)
    return traits.most_cost(inputs) if traits.most_cost is not None else None


def _most_of_model(compiled: CompiledPlan, node: CompiledNode, limits: ModelLimits, tools: ToolRegistry) -> Spending:
    inputs = node.inputs
    input_tokens = limits.context_tokens
    above = [tools.traits(compiled.nodes[id].tool).model_limits for id in node.dependencies]
    if all(above) and not walk_templates(inputs):
        output_limits = [cast("ModelLimits", upstream_limits).max_tokens for upstream_limits in above]
        input_tokens = min(
            input_tokens, limits.fixed_tokens(compiled.plan.source_vibe, node.node, inputs, output_limits)
        )
    model, max_tokens = inputs.get("model"), inputs.get("max_tokens")
    return limits.spending(
        model if isinstance(model, str) else None, input_tokens, max_tokens if isinstance(max_tokens, int) else None
    )
