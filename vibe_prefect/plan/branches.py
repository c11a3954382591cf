"""Branches of a plan that run as a whole at a placement of another machine: a node with all that is below it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain

from vibe_prefect.core.policies import LOCAL
from vibe_prefect.errors import Problem
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import PlanGraph, Vertex
from vibe_prefect.tools.registry import APPROVE_TOOL

NO_RECORD = "disable"
"""Value of `policy.cache` with which a node leaves no record."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A node with all that is below it."""

    root: str
    """Id of the node."""

    placement: str
    """Name of the placement where all of it runs."""

    members: tuple[str, ...]
    """Ids of its nodes in plan order, the root first."""


def branch_root(
    graph: PlanGraph, nodes: Mapping[str, CompiledNode], id: str, placements: Collection[str], run_on: str | None = None
) -> str | None:
    """Return the root of the branch that a node is part of; `None` where it is part of none.

    Args:
        graph: The structure of the plan.
        nodes: Its nodes.
        id: The node.
        placements: Names of the placements that branches run at.
        run_on: The placement of all nodes of the run; `None` where the plan decides.
    """
    above = [id, *graph.ancestors(id)]
    return next((root for root in reversed(above) if (run_on or nodes[root].policy.run_on) in placements), None)


def branches(compiled: CompiledPlan, placements: Collection[str], run_on: str | None = None) -> Iterator[Branch]:
    """Yield the branches of a plan, in plan order; see `branch_root`."""
    inside: set[str] = set()
    for id in compiled.nodes:
        name = run_on or compiled.nodes[id].policy.run_on
        if id not in inside and name in placements:
            members = (id, *compiled.graph.below(id))
            inside.update(members)
            yield Branch(id, name, members)


def branch_waits(
    waits: Mapping[Vertex, tuple[Vertex, ...]], graph: PlanGraph, found: Collection[Branch]
) -> Mapping[Vertex, tuple[Vertex, ...]]:
    """Return what each start and end waits for when each branch begins as a whole.

    The first node of a branch waits for all that its other nodes wait for outside of it. A branch within a list is left
    as it is: `branch_problems` refuses one with such a node.
    """
    if not found:
        return waits
    more = {
        (branch.root, False): [(id, graph.nodes[id].has_end) for id in outside(graph, branch)]
        for branch in found
        if not graph.gatherers(branch.root)
    }
    return {vertex: tuple(dict.fromkeys((*before, *more.get(vertex, ())))) for vertex, before in waits.items()}


def outside(graph: PlanGraph, branch: Branch) -> tuple[str, ...]:
    """Return the dependencies of a branch's nodes that are not part of it, without the ancestors of its root."""
    known = {*branch.members, *graph.ancestors(branch.root)}
    awaited = chain.from_iterable(graph.awaited(member) for member in branch.members)
    return tuple(dict.fromkeys(id for id in awaited if id not in known))


def branch_problems(compiled: CompiledPlan, found: Collection[Branch]) -> Iterator[Problem]:
    """Yield what keeps branches of a plan from running as a whole elsewhere.

    Args:
        compiled: The plan as written.
        found: Its branches.
    """
    if not found:
        return
    for branch in found:
        for id in branch.members:
            yield from _member_problems(compiled, branch, id)
        yield from _record_problems(compiled, branch)
        yield from _list_problems(compiled.graph, branch)
    yield from _circles(compiled.graph, found)


def _member_problems(compiled: CompiledPlan, branch: Branch, id: str) -> Iterator[Problem]:
    node, place = compiled.nodes[id], f"the placement {branch.placement!r}"
    own = node.node.policy.run_on
    if own not in (None, branch.placement, compiled.nodes[branch.root].policy.run_on):
        message = f"{own!r} is not possible here: {branch.root!r} and all below it run at {place}, in one run"
        hint = f"leave it out, or give `run_on: {own}` to a node that is not below {branch.root!r}"
        yield Problem(f"{message}; {hint}", id, "policy.run_on", hint=hint)
    if node.tool == APPROVE_TOOL:
        hint = f"move the node out of {branch.root!r}" if id != branch.root else f"set `policy.run_on: {LOCAL}` for it"
        yield Problem(f"a person cannot be asked at {place}, where it would run; {hint}", id, hint=hint)
    if node.backing is Backing.HANDLER:
        hint = "make it a tool of a file that the setting `tools` names there"
        yield Problem(f"a handler of this program runs it, and {place} has none; {hint}", id, hint=hint)


def _record_problems(compiled: CompiledPlan, branch: Branch) -> Iterator[Problem]:
    """Yield the nodes whose results would not come to a branch, or not come back, since they leave no record."""
    graph = compiled.graph
    needed = [part for id in outside(graph, branch) for part in (id, *graph.parts(id))]
    for id in dict.fromkeys([*graph.ancestors(branch.root), *needed, *branch.members]):
        if compiled.nodes[id].policy.cache == NO_RECORD:
            message = (
                f"{branch.root!r} runs at the placement {branch.placement!r}, and results pass by way of their records"
            )
            yield Problem(f"{message}: {NO_RECORD!r} leaves none", id, "policy.cache", hint="leave it out")


def _list_problems(graph: PlanGraph, branch: Branch) -> Iterator[Problem]:
    """Yield what a branch may not do that runs for each item of a list."""
    gatherers = graph.gatherers(branch.root)
    if not gatherers:
        return
    hint = f"give the placement {branch.placement!r} to {gatherers[-1]!r}, which then runs there with all its items"
    first, own = set(graph.awaited(branch.root)), {*branch.members}
    for id in branch.members:
        late = [name for name in graph.awaited(id) if name not in own and name not in first]
        if late and any(gatherers[0] in graph.ancestors(name) for name in late):
            message = f"it runs at the placement {branch.placement!r} with {branch.root!r}, which does not wait for"
            yield Problem(f"{message} {late[0]!r}; {hint}", id, "dependencies", hint=hint)
        if graph.nodes[id].gathers:
            message = f"a list cannot run by itself at the placement {branch.placement!r} for each item of another one"
            yield Problem(f"{message}; {hint}", id, "policy.run_on", hint=hint)


def _circles(graph: PlanGraph, found: Collection[Branch]) -> Iterator[Problem]:
    """Yield a circle of waits that begins a branch only when a node has ended that waits for another node of it."""
    try:
        TopologicalSorter(branch_waits(graph.waits, graph, found)).prepare()
    except CycleError as error:
        ids = {id for id, _ in error.args[1]}
        branch = next(branch for branch in found if ids.intersection(branch.members))
        between = next((id for id in graph.nodes if id in ids and id not in branch.members), branch.root)
        message = (
            f"it runs at the placement {branch.placement!r} with all below it, in one run, and {between!r} would have "
            "to run in the middle of that"
        )
        hint = f"move {between!r} below {branch.root!r}, or what waits for it out of there"
        yield Problem(f"{message}; {hint}", branch.root, "policy.run_on", hint=hint)
