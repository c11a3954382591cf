"""What a machine has to have before it can run a plan: models, keys, packages. Known without asking that machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from vibe_prefect.llm.provider.calls import ModelLimits
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.tools.registry import ToolRegistry


def worker_needs(compiled: CompiledPlan, tools: ToolRegistry) -> Iterator[str]:
    """Yield what a plan's runs need, each as a line for people.

    Args:
        compiled: The plan, compiled with the tools.
        tools: The tools that it names, as they are configured here.
    """
    models: dict[str, list[str]] = {}
    for node in compiled.nodes.values():
        if model := _model(node, tools):
            models.setdefault(model, []).append(node.id)
    for model, nodes in models.items():
        yield f"model {model}, for {', '.join(nodes)}"
    used = {node.tool for node in compiled.nodes.values() if node.tool}
    for source, names in tools.key_sources(used).items():
        kind, _, name = source.place.partition(":")
        where = f"variable {name}" if kind == "env" else f"Secret block {name}"
        yield f"key in the {where}, for {', '.join(names)}{'' if source.needed else ' (perhaps)'}"
    for name in sorted(used):
        if extra := tools.traits(name).missing_extra:
            yield f"package for {name}, which this machine lacks: {extra}"


def _model(node: CompiledNode, tools: ToolRegistry) -> str | None:
    limits = cast("ModelLimits | None", tools.traits(node.tool).model_limits)
    if limits is None:
        return None
    named = node.inputs.get("model")
    return named if isinstance(named, str) else limits.usual
