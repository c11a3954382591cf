"""Forecast of a run, before anything is paid for: the nodes that run, those that are reused, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter

from vibe_prefect.plan.comparison import reason_to_run
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.graph import PlanGraph, Vertex


class Action(StrEnum):
    """Fate of a node."""

    RUN = "run"
    """It is executed."""

    REUSE = "reuse"
    """The record of an earlier run is reused."""

    SKIP = "skip"
    """It is neither executed nor reused."""


@dataclass(frozen=True, slots=True)
class NodeForecast:
    """Forecast of one node, if everything that runs completes."""

    id: str
    """The node's id."""

    action: Action
    """Fate of the node."""

    reason: str
    """Why."""

    estimate: float | None
    """Expected duration when it runs, in seconds, from the plan; `None` when the plan has none."""


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The chain of nodes that the run cannot be shorter than, however many nodes run at once."""

    ids: tuple[str, ...]
    """The nodes on it, first to last; only those that run."""

    seconds: float
    """Their estimates together; those without one are not in it."""

    unestimated: int
    """Number of them without an estimate. Where that is not 0, another chain may well be longer."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool that the run will call."""

    name: str
    """The tool's name."""

    version: str
    """The version that is in the keys."""

    nodes: int
    """Number of nodes that run and call it."""


@dataclass(frozen=True)
class Forecast:
    """Forecast of a run."""

    nodes: Mapping[str, NodeForecast]
    """Forecast of each node, by its id, in plan order."""

    groups: tuple[tuple[str, ...], ...]
    """The topological groups of the whole plan."""

    critical_path: CriticalPath
    """The longest chain of the nodes that run, by their estimates."""

    tools: tuple[ToolUse, ...]
    """The tools of the nodes that run, by name."""

    def ids(self, action: Action) -> tuple[str, ...]:
        """Return the ids of the nodes with this action, in plan order."""
        return tuple(id for id, node in self.nodes.items() if node.action is action)

    def count(self, action: Action) -> int:
        """Return the number of nodes with this action."""
        return len(self.ids(action))

    @property
    def seconds(self) -> float:
        """The estimates of all nodes that run, together; those without one are not in it."""
        return sum(self.nodes[id].estimate or 0.0 for id in self.ids(Action.RUN))

    @property
    def unestimated(self) -> int:
        """Number of nodes that run and have no estimate."""
        return sum(self.nodes[id].estimate is None for id in self.ids(Action.RUN))


def forecast(  # noqa: PLR0913 - options by keyword
    compiled: CompiledPlan,
    kept: Collection[str] = (),
    *,
    lost: Mapping[str, str] | None = None,
    earlier: CompiledPlan | None = None,
    run: str | None = None,
    selected: frozenset[str] | None = None,
    refreshed: frozenset[str] = frozenset(),
) -> Forecast:
    """Forecast a run of a plan.

    Args:
        compiled: The plan.
        kept: Ids of the nodes of which a record with the plan's own key exists.
        lost: Why a record that exists cannot be reused, by the node's id: its files are lost, or it is outdated.
        earlier: The plan of the run to resume, where it is known; reasons name what changed since.
        run: The name of that run.
        selected: The nodes that may run; all of them by default. A node with a record is reused, selected or not.
        refreshed: The nodes that run even where there is a record, as far as they are selected.
    """
    rerun = refreshed if selected is None else refreshed & selected
    again = _again(compiled, frozenset(kept) - rerun, lost or {}, selected)
    return _Forecaster(
        compiled, frozenset(kept) - rerun - again.keys(), again, earlier, run, selected, rerun
    ).forecast()


def _again(
    compiled: CompiledPlan, reused: frozenset[str], lost: Mapping[str, str], selected: frozenset[str] | None
) -> dict[str, str]:
    """Return why nodes run again that have a record: those whose files are lost, and what depends on their outputs."""
    again = dict(lost)
    for id in (id for group in compiled.groups for id in group if id in reused):
        sources = [source for source in compiled.nodes[id].dependencies if source in again]
        if sources and (selected is None or id in selected):
            again[id] = f"depends on {sources[0]}, which runs again; reused if that makes the same"
    return again


class _Forecaster:
    """Builder of one forecast: actions first, since reasons name them."""

    def __init__(  # noqa: PLR0913 - options by keyword
        self,
        compiled: CompiledPlan,
        reused: frozenset[str],
        again: Mapping[str, str],
        earlier: CompiledPlan | None,
        run: str | None,
        selected: frozenset[str] | None,
        refreshed: frozenset[str],
    ) -> None:
        self._compiled = compiled
        self._graph = compiled.graph
        self._kept = reused
        self._again = again
        self._earlier = earlier
        self._kept_reason = f"record from {run}" if run else "has a record"
        self._selected = selected
        self._refreshed = refreshed
        self._skipped: dict[str, str] = {}
        self._skipped_below: dict[str, str] = {}
        self._runs: frozenset[str] = frozenset()

    def forecast(self) -> Forecast:
        self._skip_in_order()
        self._runs = frozenset(id for id in self._compiled.nodes if id not in self._kept and id not in self._skipped)
        nodes = {id: self._node(id) for id in self._compiled.nodes}
        estimates = {id: nodes[id].estimate for id in nodes if id in self._runs}
        path = critical_path(self._graph, estimates)
        return Forecast(nodes, self._compiled.groups, path, self._tools())

    def _skip_in_order(self) -> None:
        """Find out what is skipped; a subtree is complete before anything waits for it."""
        if self._selected is None:
            return
        for id, is_end in TopologicalSorter(self._graph.waits).static_order():
            if not is_end:
                self._decide(id)
            if is_end or not self._graph.nodes[id].children:
                self._close(id)

    def _decide(self, id: str) -> None:
        """Skip a node that needs a skipped one, or that has no record and is not selected."""
        cause = self._cause(id)
        if cause is not None:
            self._skipped[id] = f"needs {cause}, which is skipped"
        elif self._selected is not None and id not in self._selected and id not in self._kept:
            self._skipped[id] = "not selected"

    def _cause(self, id: str) -> str | None:
        """Return a skipped node without which this one cannot be: its parent, or one in a dependency's subtree."""
        parent = self._graph.nodes[id].parent
        if parent is not None and parent in self._skipped:
            return parent
        return next((cause for dep in self._graph.awaited(id) if (cause := self._skipped_below.get(dep))), None)

    def _close(self, id: str) -> None:
        """Note the topmost skipped node from a finished one downwards, if there is any."""
        if id in self._skipped:
            self._skipped_below[id] = id
            return
        for child in self._graph.nodes[id].children:
            if child in self._skipped_below:
                self._skipped_below[id] = self._skipped_below[child]
                return

    def _node(self, id: str) -> NodeForecast:
        estimate = self._compiled.nodes[id].node.estimated_duration
        if id in self._skipped:
            return NodeForecast(id, Action.SKIP, self._skipped[id], estimate)
        if id in self._kept:
            return NodeForecast(id, Action.REUSE, self._kept_reason, estimate)
        return NodeForecast(id, Action.RUN, self._reason(id), estimate)

    def _reason(self, id: str) -> str:
        if id in self._refreshed:
            return "refreshed"
        if id in self._again:
            return self._again[id]
        return reason_to_run(self._earlier, self._compiled, id, self._runs)

    def _tools(self) -> tuple[ToolUse, ...]:
        used = (self._compiled.nodes[id].tool for id in self._runs)
        counts = Counter(tool for tool in used if tool is not None)
        return tuple(ToolUse(name, self._compiled.tools[name], counts[name]) for name in sorted(counts))


def critical_path(graph: PlanGraph, estimates: Mapping[str, float | None]) -> CriticalPath:
    """Return the longest chain of waiting nodes; of equally long ones, the one with the most nodes.

    Args:
        graph: The plan's graph.
        estimates: Seconds, or `None`, for the nodes that count; all others take no time.
    """
    lengths: dict[Vertex, tuple[float, int]] = {}
    predecessors: dict[Vertex, Vertex | None] = {}
    for vertex in TopologicalSorter(graph.waits).static_order():
        predecessors[vertex] = max(graph.waits[vertex], key=lengths.__getitem__, default=None)
        wait = predecessors[vertex]
        seconds, nodes = lengths[wait] if wait is not None else (0.0, 0)
        id, is_end = vertex
        if not is_end and id in estimates:
            seconds, nodes = seconds + (estimates[id] or 0.0), nodes + 1
        lengths[vertex] = (seconds, nodes)
    last = max(((id, False) for id in graph.nodes), key=lengths.__getitem__, default=None)
    if last is None:
        return CriticalPath((), 0.0, 0)
    ids = _chain(last, predecessors, estimates)
    return CriticalPath(ids, lengths[last][0], sum(estimates[id] is None for id in ids))


def _chain(
    last: Vertex, predecessors: Mapping[Vertex, Vertex | None], estimates: Mapping[str, float | None]
) -> tuple[str, ...]:
    ids: list[str] = []
    vertex: Vertex | None = last
    while vertex is not None:
        id, is_end = vertex
        if not is_end and id in estimates:
            ids.append(id)
        vertex = predecessors[vertex]
    return tuple(reversed(ids))
