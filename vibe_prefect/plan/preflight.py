"""The calls that a run will make, and why some of them cannot succeed, before its first node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.tools.planned_calls import PlannedCall
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.workspace import Workspace


async def call_problems(
    compiled: CompiledPlan, ids: Iterable[str], tools: ToolRegistry, workspace: Workspace
) -> Mapping[str, tuple[str, ...]]:
    """Return what tools find wrong with the calls that a run will make, each with the names of the tools.

    Args:
        compiled: The plan.
        ids: The nodes that will run.
        tools: The tools of the run.
        workspace: Its folders.
    """
    problems: dict[str, tuple[str, ...]] = {}
    for name, calls in sorted(_planned_calls(compiled, ids, workspace).items()):
        preflight = tools.traits(name).preflight
        for problem in await preflight(calls) if preflight is not None else ():
            problems[problem] = (*problems.get(problem, ()), name)
    return problems


def _planned_calls(
    compiled: CompiledPlan, ids: Iterable[str], workspace: Workspace
) -> Mapping[str, Sequence[PlannedCall]]:
    """Return the calls of tools, by tool."""
    calls: dict[str, list[PlannedCall]] = {}
    for id in ids:
        node = compiled.nodes[id]
        if node.tool is not None:
            calls.setdefault(node.tool, []).append(PlannedCall(id, node.inputs, workspace))
    return calls
