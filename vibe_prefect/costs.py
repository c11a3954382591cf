"""What the models of a run would cost: at most, by the rules of the budget, and probably, by what an earlier run paid.

Each node that runs on a model makes one call when nothing goes wrong. It reads at most what the operator allows for a
call, and less where that can be told: a node whose prompt holds no template, and whose dependencies all run on models,
reads its prompt and what those may write. It writes at most what the operator allows for an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.budget import Spending
from vibe_prefect.compiler import CompiledNode, CompiledPlan
from vibe_prefect.handlers import tool_inputs
from vibe_prefect.llm.calls import ModelLimits
from vibe_prefect.templates import walk_templates
from vibe_prefect.tools.registry import ToolRegistry


@dataclass(frozen=True, slots=True)
class CostForecast:
    """What the calls of a run would cost, retries apart."""

    calls: int
    """How many calls there are."""

    most: Spending
    """What all of them can cost together."""

    known: int
    """For how many of them earlier runs tell what they cost."""

    likely: Spending
    """What those cost then."""


def cost_forecast(
    compiled: CompiledPlan,
    runs: Collection[str],
    tools: ToolRegistry,
    earlier: Mapping[str, Spending] | None = None,
) -> CostForecast | None:
    """Tell what the models of a run would cost; `None` where it calls none.

    Args:
        compiled: The plan.
        runs: Ids of the nodes that would run.
        tools: The tools it was compiled against.
        earlier: What nodes cost in earlier runs, by their ids.
    """
    limits = _calling(compiled, runs, tools)
    if not limits:
        return None
    most, likely, known = Spending(), Spending(), 0
    for id, limit in limits.items():
        most += _most(compiled, compiled.nodes[id], limit, tools)
        if earlier is not None and id in earlier:
            likely, known = likely + earlier[id], known + 1
    return CostForecast(len(limits), most, known, likely)


def calling_models(compiled: CompiledPlan, runs: Collection[str], tools: ToolRegistry) -> tuple[str, ...]:
    """Return the nodes that would ask a model, of those that would run; see `cost_forecast`."""
    return tuple(_calling(compiled, runs, tools))


def _calling(compiled: CompiledPlan, runs: Collection[str], tools: ToolRegistry) -> dict[str, ModelLimits]:
    return {id: found for id in runs if (found := _limits(compiled.nodes[id], tools)) is not None}


def _limits(node: CompiledNode, tools: ToolRegistry) -> ModelLimits | None:
    tool = tools.get(node.tool) if node.tool else None
    return getattr(tool, "model_limits", None)


def _most(compiled: CompiledPlan, node: CompiledNode, limits: ModelLimits, tools: ToolRegistry) -> Spending:
    name = node.tool or ""
    inputs = tool_inputs(node.node, name, tools.get(name))
    read = limits.context_tokens
    above = [_limits(compiled.nodes[id], tools) for id in node.dependencies]
    if all(above) and not any(True for _ in walk_templates(inputs)):
        given = [cast("ModelLimits", one).max_tokens for one in above]
        read = min(read, limits.fixed_tokens(compiled.plan.source_vibe, node.node, inputs, given))
    return limits.spending(_text(inputs.get("model")), read, _number(inputs.get("max_tokens")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None
