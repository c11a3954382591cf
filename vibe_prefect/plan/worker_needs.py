"""What a machine has to have before it can run a plan: models, keys, packages, tools. Known without asking it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

from vibe_prefect.llm.provider.calls import ModelLimits
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.tools.base import ToolCategory
from vibe_prefect.tools.registry import TOOLS_VARIABLE, ToolRegistry

Role = Literal["writes", "judges"]
"""Work that a plan's nodes leave to a language model."""

FALLBACK_TOOLS = frozenset({"llm_or_template", "judge_or_pass"})
"""Tools that do without a model where none is configured."""


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
    files: dict[Path, list[str]] = {}
    for name in sorted(used):
        if file := tools.file_of(name):
            files.setdefault(file, []).append(name)
    for file, names in files.items():
        yield f"file of tools {file.name} (--tools or {TOOLS_VARIABLE}), for {', '.join(names)}"


def default_models(compiled: CompiledPlan, tools: ToolRegistry) -> dict[Role, set[str]]:
    """Return the default models of the nodes that write or judge and name no model, by what they do.

    A role without a model is one in which a fallback stands in.

    Args:
        compiled: The plan, compiled with the tools.
        tools: The tools that it names, as they are configured here.
    """
    models: dict[Role, set[str]] = {}
    for node in compiled.nodes.values():
        limits = cast("ModelLimits | None", tools.traits(node.tool).model_limits)
        tool = tools.get(node.tool) if node.tool else None
        if tool is None or (limits is None and node.tool not in FALLBACK_TOOLS) or "model" in node.inputs:
            continue
        names = models.setdefault("writes" if tool.spec.category == ToolCategory.TEXT else "judges", set())
        names |= {limits.usual} if limits is not None else set()
    return models


def _model(node: CompiledNode, tools: ToolRegistry) -> str | None:
    limits = cast("ModelLimits | None", tools.traits(node.tool).model_limits)
    if limits is None:
        return None
    named = node.inputs.get("model")
    return named if isinstance(named, str) else limits.usual
