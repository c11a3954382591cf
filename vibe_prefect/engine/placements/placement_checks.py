"""Checks before a run of the placements that its plan asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vibe_prefect.core.models import NodePolicy
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.core.policies import LOCAL
from vibe_prefect.errors import Finding, PlanError, Problem, UsageError, did_you_mean
from vibe_prefect.plan.branches import branch_problems, branches
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import PlanSource
from vibe_prefect.settings.package import variable
from vibe_prefect.settings.placements import PlacementKind, PlacementSettings
from vibe_prefect.tools.registry import APPROVE_TOOL


def placement_of(node: CompiledNode, run_on: str | None = None) -> str:
    """Return the name of the placement where a node runs.

    What asks a person, and what has nothing to do, runs in the process of the run.

    Args:
        node: The node.
        run_on: The placement of all nodes of the run; `None` where the plan decides.
    """
    does_work = node.backing is Backing.HANDLER or (node.backing is Backing.TOOL and node.tool != APPROVE_TOOL)
    return (run_on or node.policy.run_on) if does_work and node.node.for_each is None else LOCAL


def check_placements(
    compiled: CompiledPlan,
    placements: Mapping[str, PlacementSettings],
    run_on: str | None = None,
    source: PlanSource | None = None,
) -> None:
    """Refuse a plan, or an option of its run, that asks for a placement which the operator has not named.

    Args:
        compiled: The plan.
        placements: The placements that the operator has named.
        run_on: The placement of all nodes of the run; `None` where the plan decides.
        source: Where the plan's data stand in a file, for the places in messages.

    Raises:
        UsageError: The option names an unknown placement.
        PlanError: Nodes ask for unknown placements, or cannot run at one of them together with all below them.
    """
    if run_on is not None and run_on != LOCAL and run_on not in placements:
        raise UsageError(f"run_on: {_unknown(run_on, placements).message}")
    problems = list(_problems(compiled, placements, source))
    names = [name for name, one in placements.items() if one.kind is PlacementKind.DEPLOYMENT]
    problems += branch_problems(compiled, tuple(branches(compiled, names, run_on)))
    if problems:
        raise PlanError(problems, source.name if source else compiled.plan.id)


def _problems(
    compiled: CompiledPlan, placements: Mapping[str, PlacementSettings], source: PlanSource | None
) -> Iterable[Problem]:
    """Yield the problem of each policy that asks for an unknown placement: that of the plan, and those of nodes."""
    policies: list[tuple[str | None, DataPath, NodePolicy]] = [(None, (), compiled.plan.policy)]
    policies += [(id, graph_node.path, graph_node.node.policy) for id, graph_node in compiled.graph.nodes.items()]
    for id, path, policy in policies:
        name = policy.run_on
        if name is not None and name != LOCAL and name not in placements:
            position = source.position((*path, "policy", "run_on")) if source else None
            finding = _unknown(name, placements)
            yield Problem(finding.message, id, "policy.run_on", position, finding.hint)


def _unknown(name: str, placements: Mapping[str, PlacementSettings]) -> Finding:
    names = sorted([LOCAL, *placements])
    hint = did_you_mean(name, names) or f"placements: {', '.join(names)}"
    advice = f"{hint}; the setting {variable('placements')} says where nodes may run"
    return Finding.advised(f"unknown placement {name!r}", advice)
