"""Forecast of a run, before anything is paid for: the nodes that run, those that are reused, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vibe_prefect.plan.checks.conditions import read_outputs, shown_condition
from vibe_prefect.plan.comparison import reason_to_run
from vibe_prefect.plan.compiler import Backing, CompiledPlan
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

    may_skip: bool = False
    """Whether a condition that is not known yet may skip it."""


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
    conditions: Mapping[str, bool] | None = None,
    absent: Mapping[str, Collection[str]] | None = None,
    fallbacks: Mapping[str, str] | None = None,
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
        conditions: Which conditions are met, by the nodes' ids, as far as that can be told from inputs and records.
        absent: Optional dependencies that were skipped when a node's record was made, by the node's id, where known.
        fallbacks: Why a record holds a fallback, by the node's id; such a node is tried again.
    """
    rerun = refreshed if selected is None else refreshed & selected
    records = _Records(frozenset(kept) - rerun - (lost or {}).keys(), lost or {}, absent or {}, fallbacks or {})
    return _Forecaster(compiled, records, earlier, run, selected, rerun, conditions or {}).forecast()


@dataclass(frozen=True, slots=True)
class _Records:
    """What is known of the records that a run may reuse."""

    kept: frozenset[str]
    """Ids of the nodes whose record can be reused, by itself."""

    lost: Mapping[str, str]
    """Why a record that exists cannot be reused, by the node's id."""

    absent: Mapping[str, Collection[str]]
    """Optional dependencies that were skipped when a record was made, by the node's id, where that is known."""

    fallbacks: Mapping[str, str]
    """Why a record holds a fallback, by the node's id."""


@dataclass(frozen=True)
class _Marked:
    """Nodes of a plan that something is noted about."""

    reasons: dict[str, str] = field(default_factory=dict[str, str])
    """Why, by the ids of the nodes."""

    topmost: dict[str, str] = field(default_factory=dict[str, str])
    """The topmost of these nodes, from a finished node downwards, where there is any."""

    def note(self, id: str, reason: str) -> None:
        """Note something about a node."""
        self.reasons[id] = reason

    def close(self, id: str, children: Sequence[str]) -> None:
        """Note that a node and everything below it have been decided about."""
        below = (self.topmost[child] for child in children if child in self.topmost)
        cause = id if id in self.reasons else next(below, None)
        if cause is not None:
            self.topmost[id] = cause


class _Forecaster:
    """Builder of one forecast: actions first, since reasons name them."""

    def __init__(  # noqa: PLR0913 - options by keyword
        self,
        compiled: CompiledPlan,
        records: _Records,
        earlier: CompiledPlan | None,
        run: str | None,
        selected: frozenset[str] | None,
        refreshed: frozenset[str],
        conditions: Mapping[str, bool],
    ) -> None:
        self._compiled = compiled
        self._graph = compiled.graph
        self._kept = set(records.kept)
        self._again = dict(records.lost)
        self._absent = records.absent
        self._fallbacks = records.fallbacks
        self._earlier = earlier
        self._kept_reason = f"record from {run}" if run else "has a record"
        self._selected = selected
        self._refreshed = refreshed
        self._conditions = conditions
        self._skipped = _Marked()
        self._blocked = _Marked()  # those of the skipped that are so for another reason than a condition
        self._doubtful = _Marked()
        self._runs: frozenset[str] = frozenset()

    def forecast(self) -> Forecast:
        self._decide_in_order()
        self._runs = frozenset(
            id for id in self._compiled.nodes if id not in self._kept and id not in self._skipped.reasons
        )
        nodes = {id: self._node(id) for id in self._compiled.nodes}
        estimates = {id: nodes[id].estimate for id in nodes if id in self._runs}
        path = critical_path(self._graph, estimates)
        return Forecast(nodes, self._compiled.groups, path, self._tools())

    def _decide_in_order(self) -> None:
        """Find out what is skipped, or runs again; a subtree is complete before anything waits for it."""
        for id, is_end in self._graph.order:
            if not is_end:
                self._decide(id)
                self._check_record(id)
            if is_end or not self._graph.nodes[id].has_end:
                children = () if self._graph.nodes[id].gathers else self._graph.nodes[id].children
                for marked in (self._skipped, self._blocked, self._doubtful):
                    marked.close(id, children)

    def _decide(self, id: str) -> None:
        """Skip a node that needs a skipped one, whose condition is not met, or that is neither selected nor kept."""
        parent = self._graph.nodes[id].parent
        is_below_skipped = parent in self._skipped.reasons and parent not in self._blocked.reasons
        blocked = None if is_below_skipped else self._cause(id, self._blocked, optional=True)
        cause = blocked or self._cause(id, self._skipped)
        condition = self._compiled.nodes[id].node.when
        is_met = True if condition is None else self._is_met(id, condition)
        if cause is not None:
            self._skipped.note(id, f"needs {cause}, which is skipped")
        elif is_met is False:
            self._skipped.note(id, f"condition not met: {shown_condition(condition or '')}")
        elif self._selected is not None and id not in self._selected and id not in self._kept:
            self._skipped.note(id, blocked := "not selected")
        elif is_met is None:
            self._doubtful.note(id, f"may be skipped: {shown_condition(condition or '')}")
        elif (doubt := self._cause(id, self._doubtful)) is not None:
            self._doubtful.note(id, f"may be skipped with {doubt}")
        if blocked is not None:
            self._blocked.note(id, blocked)

    def _check_record(self, id: str) -> None:
        """Note that a node with a record runs again, where it depends on what runs again, or on what is skipped now."""
        is_selected = self._selected is None or id in self._selected
        reason = self._reason_again(id) if id in self._kept and is_selected else None
        if reason is not None and id not in self._skipped.reasons:
            self._again[id] = reason
            self._kept.discard(id)

    def _reason_again(self, id: str) -> str | None:
        if id in self._fallbacks:
            return f"tried again, since a fallback stands in: {self._fallbacks[id]}"
        for source in self._compiled.nodes[id].dependencies:
            if source in self._again:
                return f"depends on {source}, which runs again; reused if that makes the same"
        absent = self._absent.get(id)
        if absent is None:
            return None
        skipped = self._skipped.reasons
        optional = sorted(self._graph.nodes[id].optional)
        source = next((source for source in optional if (source in absent) != (source in skipped)), None)
        if source is None:
            return None
        if source in skipped:
            return f"depends on {source}, which is skipped now"
        hint = "; reused if it is again" if source in self._doubtful.reasons else ""
        return f"depends on {source}, which was skipped before{hint}"

    def _is_met(self, id: str, condition: str) -> bool | None:
        """Return whether a node's condition is met; `None` where that hangs on nodes that run."""
        nodes = self._compiled.nodes
        sources = {nodes[id].id_of(name) for name in read_outputs(condition, nodes[id].written)}
        if any(nodes[source].backing is Backing.SIMULATION for source in sources):
            return True
        return self._conditions.get(id) if sources <= self._kept else None

    def _cause(self, id: str, marked: _Marked, *, optional: bool = False) -> str | None:
        """Return a marked node without which this one cannot be: its parent, or one in a dependency's subtree.

        Args:
            id: The node.
            marked: The marked nodes.
            optional: Whether optional dependencies count.
        """
        graph_node = self._graph.nodes[id]
        if graph_node.parent in marked.reasons:
            return graph_node.parent
        for gatherer in self._graph.gatherers(id):  # decided after the nodes of its items
            condition = self._compiled.nodes[gatherer].node.when
            if marked is self._skipped and condition is not None and self._is_met(gatherer, condition) is False:
                return gatherer
        awaited = (
            dep
            for waiting in (id, *self._graph.gatherers(id))
            for dep in self._graph.awaited(waiting)
            if optional or dep not in self._graph.nodes[waiting].optional
        )
        return next((marked.topmost[dep] for dep in awaited if dep in marked.topmost), None)

    def _node(self, id: str) -> NodeForecast:
        estimate = self._compiled.nodes[id].node.estimated_duration
        if id in self._skipped.reasons:
            return NodeForecast(id, Action.SKIP, self._skipped.reasons[id], estimate)
        if id in self._kept:
            return self._with_doubt(NodeForecast(id, Action.REUSE, self._kept_reason, estimate))
        return self._with_doubt(NodeForecast(id, Action.RUN, self._reason(id), estimate))

    def _with_doubt(self, node: NodeForecast) -> NodeForecast:
        doubt = self._doubtful.reasons.get(node.id)
        return replace(node, reason=f"{node.reason}; {doubt}", may_skip=True) if doubt else node

    def _reason(self, id: str) -> str:
        if id in self._refreshed:
            return "refreshed"
        if id in self._again:
            return self._again[id]
        return reason_to_run(self._earlier, self._compiled, id, self._runs)

    def _tools(self) -> tuple[ToolUse, ...]:
        nodes = [self._compiled.nodes[id] for id in self._runs]
        used = (tool for node in nodes for tool in (node.tool, node.scorer))
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
    for vertex in graph.order:
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
