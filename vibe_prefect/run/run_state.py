"""The state of a run as it grows: the result of each node, the unsatisfied dependencies, and the run's result."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, TypeVar

from vibe_prefect.core.approval import WAITING, Question
from vibe_prefect.core.fallback import FALLBACK, Fallback, fallback_of
from vibe_prefect.core.feedback import (
    REPLAN_BELOW,
    Failure,
    ResourceUsage,
    failure_feedback,
    replan_suggestion,
    success_feedback,
)
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.core.progress import AddedNode, RunObserver, notify
from vibe_prefect.core.retries import Retry
from vibe_prefect.plan.checks.conditions import read_outputs
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan
from vibe_prefect.plan.unfold import Instance, Item, UnfoldedPlan
from vibe_prefect.provenance import NodeProvenance, RunLabel
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.run.conditions import Obstacle, condition_values, is_met, unmet
from vibe_prefect.run.decisions import is_decided
from vibe_prefect.run.handlers import RESULT_TYPES, NodeHandler, output_of
from vibe_prefect.run.measure import Meter
from vibe_prefect.run.node_work import NodeWork, ToolSource
from vibe_prefect.text.json_text import copied, json_pieces
from vibe_prefect.text.sendable import MAX_STATE, sendable
from vibe_prefect.tools.waits import paused_clock
from vibe_prefect.tools.workspace import Workspace

MAX_CAUSES = 10
"""Number of unsatisfied dependencies that a skipped node names before it only counts."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a node's dependencies give it beyond what the content keys speak of, by their ids as written."""

    absent: tuple[str, ...]
    """Ids of those that a condition skipped."""

    made_from: Mapping[str, str]
    """Hash of the output of each for which a fallback stands in, or whose output a person edited or approved."""


def output_hash(output: Any) -> str:
    """Return the hash of an output as JSON."""
    hashed = hashlib.sha256()
    for piece in json_pieces(output):
        hashed.update(piece)
    return hashed.hexdigest()


@dataclass
class NodeRun:
    """A node run: the node's work over all attempts."""

    node: CompiledNode
    """The node."""

    meter: Meter = field(default_factory=Meter)
    """Adds up the resources that the attempts use."""

    failure: Failure | None = None
    """Failure of the last attempt."""

    output: Any = None
    """Output for dependents, as JSON data that nobody changes; `None` until the node has completed."""

    decided: bool = False
    """Whether a person has edited that output, or answered what the node asked."""

    whole: bool | None = None
    """Whether the node and all below it completed; `None` until that is asked for after their end."""

    run: RunLabel | None = None
    """The run that executes it; `None` outside of Prefect."""

    condition_of: str | None = None
    """Id of the node whose condition skipped it; `None` where none did."""

    question: Question | None = None
    """The question whose answer it waits for; `None` for any other node."""

    fell_back: bool = False
    """Whether a fallback stands in for its output."""

    @property
    def provenance(self) -> NodeProvenance:
        """How its result came about, so far."""
        return replace(self.meter.provenance, run=self.run)

    def note_failure(self, failure: Failure) -> None:
        """Note why the last attempt failed."""
        self.failure = failure
        self.meter.note_failure(failure)


Run = TypeVar("Run", bound=NodeRun)


class RunState(Generic[Run]):
    """All nodes of a run and its result, kept up to date as nodes end. Observers are notified of each step."""

    def __init__(
        self,
        compiled: CompiledPlan,
        new_run: Callable[[CompiledNode], Run],
        observers: Sequence[RunObserver] = (),
        replan_below: float = REPLAN_BELOW,
    ) -> None:
        """Make the state of a run that has not begun.

        Args:
            compiled: The plan.
            new_run: Makes the state of one node.
            observers: Receivers of the steps, in order.
            replan_below: Quality, 0 to 1, below which another plan is suggested for a node.
        """
        self.plan = UnfoldedPlan(compiled)
        """The plan as far as it is known."""
        self.runs: dict[str, Run] = {id: new_run(node) for id, node in self.plan.nodes.items()}
        """State of each node, by id, in plan order."""
        groups = tuple(tuple(id for id in group if id in self.runs) for group in compiled.groups)
        self.groups = tuple(group for group in groups if group)
        """Ids of the nodes that are known when the run begins, by topological level."""
        self.result = ExecutionResult(compiled.plan.id, execution_groups=[list(group) for group in self.groups])
        """Result so far."""
        self._compiled = compiled
        self._graph = self.plan.graph
        self._new_run = new_run
        self._observers = observers
        self._replan_below = replan_below
        self._begun = time.perf_counter()

    def begin(self, reused: int | None = 0) -> None:
        """Begin the run.

        Args:
            reused: Number of nodes that are complete already; `None` where observers know that the run has begun.
        """
        self.result.status = ExecutionStatus.RUNNING
        compiled = self._compiled
        if reused is not None:
            self.notify(lambda observer: observer.run_started(compiled.plan, self.groups, len(self.runs), reused))

    def end(self) -> ExecutionResult:
        """Return the result; every node has ended."""
        result, compiled = self.result, self.plan.compiled()
        result.node_results = {id: result.node_results[id] for id in compiled.nodes}
        result.execution_groups = [list(group) for group in compiled.groups]
        failed = any(self._counts_as_failed(id) for id in compiled.nodes)
        waits = ExecutionStatus.PENDING if self.questions else ExecutionStatus.COMPLETED
        result.status = ExecutionStatus.FAILED if failed else waits
        result.total_duration = time.perf_counter() - self._begun
        result.completed_at = now_iso()
        result.parallel_efficiency = result.calculate_parallel_efficiency()
        return result

    def _counts_as_failed(self, id: str) -> bool:
        """Return whether a node failed, and no composite above it completed without it."""
        above = (id, *self._graph.gatherers(id))
        return self._status(id) is ExecutionStatus.FAILED and not any(
            self._status(gatherer) is ExecutionStatus.COMPLETED for gatherer in above
        )

    @property
    def written(self) -> CompiledPlan:
        """The plan as written, with the values of the run."""
        return self._compiled

    def unfold(self, composite: CompiledNode, items: Sequence[Item]) -> tuple[Instance, ...]:
        """Add the nodes of a composite's items to the run; see `UnfoldedPlan.unfold`."""
        instances = self.plan.unfold(composite, items)
        added: list[AddedNode] = []
        for node in (node for instance in instances for node in instance.nodes.values()):
            self.runs[node.id] = self._new_run(node)
            parent = self._graph.nodes[node.id].parent or composite.id
            added.append(AddedNode(node.node, parent, node.template, node.key))
        self.notify(lambda observer: observer.nodes_added(composite.node, added))
        return instances

    def is_done(self, id: str) -> bool:
        """Return whether a node completed, or was skipped by a condition."""
        return self._status(id) is ExecutionStatus.COMPLETED or self.runs[id].condition_of is not None

    def waits(self, id: str) -> bool:
        """Return whether a node waits for a person's answer, or is held back by one that does."""
        return self._status(id) is ExecutionStatus.PENDING

    def notify(self, call: Callable[[RunObserver], object]) -> None:
        """Call the observers; their time is not that of the node that may be at work."""
        with paused_clock():
            notify(self._observers, call)

    def has_ended(self, id: str) -> bool:
        """Return whether a node has a result."""
        return id in self.result.node_results

    def work(
        self,
        run: Run,
        tools: ToolSource,
        workspace: Workspace,
        handlers: Mapping[WorkflowNodeType, NodeHandler] | None = None,
    ) -> NodeWork:
        """Return an attempt at a node as a value.

        Args:
            run: The node; its dependencies have completed.
            tools: Returns the tools of the run.
            workspace: Folders of the run.
            handlers: The caller's own handlers.
        """
        node, plan = run.node, self._compiled.plan
        handler = (handlers or {}).get(node.node.type) if node.backing is Backing.HANDLER else None
        parts = self._compiled.key_parts.get(self.plan.template(node))
        inputs, facts = parts.named.of(self._compiled.values) if parts else ({}, {})
        items = {name: node.scope[name] for name in parts.named.items} if parts else {}
        return NodeWork(
            node,
            plan.id,
            plan.source_vibe,
            self.outputs(run),
            workspace,
            tools,
            handler,
            inputs,
            facts,
            items,
            self.absent(run),
            self._lists(run),
        )

    def _lists(self, run: Run) -> dict[str, tuple[str, ...]]:
        """Return the names of the items of each dependency of a node that is a list, by its id as written."""
        runs = {name: self.runs[id] for name, id in self.plan.outputs(run.node)}
        lists = {name: source.node.id for name, source in runs.items() if source.node.node.for_each is not None}
        results = {name: self.result.node_results[id].result for name, id in lists.items()}
        return {name: tuple(result["items"]) for name, result in results.items() if result is not None}

    def outputs(self, run: Run) -> dict[str, Any]:
        """Return the output of each dependency of a node by its id as written; it is not to be changed.

        A dependency that a condition skipped has none.
        """
        runs = {name: self.runs[id] for name, id in self.plan.outputs(run.node)}
        return {name: dependency.output for name, dependency in runs.items() if dependency.condition_of is None}

    def sources_of(self, run: Run) -> dict[str, CompiledNode]:
        """Return the nodes whose outputs a node gets, by their ids as written."""
        return {name: self.runs[id].node for name, id in self.plan.outputs(run.node)}

    def absent(self, run: Run) -> tuple[str, ...]:
        """Return the ids as written of the optional dependencies of a node that a condition skipped."""
        return tuple(name for name, id in self.plan.outputs(run.node) if self.runs[id].condition_of is not None)

    def sources(self, run: Run) -> Sources:
        """Return what a node's dependencies give it beyond what the content keys speak of."""
        runs = {name: self.runs[id] for name, id in self.plan.outputs(run.node)}
        noted = {name: source.output for name, source in runs.items() if source.fell_back or source.decided}
        return Sources(self.absent(run), {name: output_hash(output) for name, output in noted.items()})

    def start(self, run: Run) -> None:
        """Notify that an attempt begins, where it is the node's first."""
        if not run.meter.attempts:
            self.notify(lambda observer: observer.node_started(run.node.node))

    def retry(self, run: Run, pause: float | None) -> Retry:
        """Notify that an attempt has failed and another one follows.

        Args:
            run: The node; its failure is that of the last attempt.
            pause: Seconds until the next attempt; `None` where they are not known.

        Returns:
            The notice.
        """
        error = run.failure.message if run.failure else ""
        notice = Retry(run.meter.attempts + 1, run.node.policy.retries + 1, pause, sendable(error, MAX_STATE))
        self.notify(lambda observer: observer.node_retried(run.node.node, notice))
        return notice

    def complete(self, run: Run, result: NodeResult, usage: ResourceUsage) -> None:
        """Note a node that has completed, in this run or in the run that it resumes.

        Args:
            run: The node.
            result: Its result.
            usage: The resources that it used.
        """
        run.output = copied(output_of(result.result))
        run.decided = is_decided(result.result, result.provenance)
        run.fell_back = fallback_of(result.result) is not None
        self._learn(run, success_feedback(result, run.node.node.estimated_duration, usage))
        self._finish(run, result)

    def fail(self, run: Run, failure: Failure) -> None:
        """Note a node that has failed."""
        run.note_failure(failure)
        meter = run.meter
        result = NodeResult(
            run.node.id,
            ExecutionStatus.FAILED,
            error=failure.message,
            duration=meter.duration,
            started_at=meter.started_at or now_iso(),
            provenance=run.provenance,
        )
        self._learn(run, failure_feedback(result, failure, run.node.node.estimated_duration, meter.usage))
        self._finish(run, result)

    def stand_in(self, run: Run, failure: Failure) -> dict[str, Any] | None:
        """Return the result that stands in for that of a node that failed; `None` where its plan names none.

        None is there either where the node whose output was to stand in was skipped.
        """
        node, outputs = run.node.node, self.outputs(run)
        if node.on_error is None or (node.on_error.use is not None and node.on_error.use not in outputs):
            return None
        use = node.on_error.use
        fallback = Fallback(failure.error_type, sendable(failure.message, MAX_STATE), use)
        return {
            "type": RESULT_TYPES[node.type],
            "description": node.description,
            "result": node.on_error.value if use is None else copied(outputs[use]),
            "metadata": {FALLBACK: fallback.to_dict()},
        }

    def skip(self, run: Run, obstacle: Obstacle) -> None:
        """Note a node that is skipped, with the reason."""
        run.condition_of = obstacle.condition_of
        self._finish(run, NodeResult(run.node.id, ExecutionStatus.SKIPPED, error=obstacle.reason))

    def wait(self, run: Run, question: Question) -> None:
        """Note a node that waits for a person's answer, beyond the end of this run."""
        run.question = question
        self.result.add_feedback(run.node.id, {WAITING: asdict(question)})
        error = f"waits for an answer: {question.text}"
        pending = ExecutionStatus.PENDING
        self._finish(run, NodeResult(run.node.id, pending, error=error, started_at=None))
        self.notify(lambda observer: observer.node_waits(run.node.node, question))

    def hold_back(self, run: Run, reason: str) -> None:
        """Note a node that may start once the questions of others are answered."""
        self._finish(run, NodeResult(run.node.id, ExecutionStatus.PENDING, error=reason, started_at=None))

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions whose answers nodes wait for, in plan order."""
        return tuple(run.question for run in self.runs.values() if run.question is not None)

    def is_held_back(self, id: str) -> bool:
        """Return whether nothing but nodes that wait for an answer keeps a node from starting."""
        return {self._status(cause) for cause in self._unsatisfied(id)} == {ExecutionStatus.PENDING}

    async def obstacle(self, id: str) -> Obstacle | None:
        """Return the reason why a node is skipped though all that it waits for has ended; `None` where it may start.

        Raises:
            InvalidTemplateError: Its condition cannot be evaluated.
        """
        blockers = list(dict.fromkeys(self._unsatisfied(id)))
        if not blockers:
            return await self._unmet(self.runs[id])
        # What is below a skipped node is skipped with it, whatever else it lacks.
        parent = self._graph.nodes[id].parent
        deciding = [parent] if parent is not None and parent in blockers else blockers
        conditions = [self.runs[blocker].condition_of for blocker in deciding]
        if (cause := conditions[0]) is not None and None not in conditions:
            return unmet(cause, self._graph.nodes[cause].node.when or "", own=False)
        causes = ", ".join(f"{blocker} {self._status(blocker)}" for blocker in blockers[:MAX_CAUSES])
        surplus = f" and {len(blockers) - MAX_CAUSES} more" if len(blockers) > MAX_CAUSES else ""
        return Obstacle(f"Dependencies not satisfied: {causes}{surplus}")

    async def _unmet(self, run: Run) -> Obstacle | None:
        """Return the obstacle where a node's own condition is not met; one on simulated outputs counts as met."""
        condition, id = run.node.node.when, run.node.id
        sources = dict(self.plan.outputs(run.node))
        if condition is None or any(self._is_simulated(sources[name]) for name in read_outputs(condition, sources)):
            return None
        outputs = {source: copied(output) for source, output in self.outputs(run).items()}
        outputs |= dict.fromkeys(self.absent(run))
        values = condition_values(self._compiled.values, outputs, run.node.scope)
        return None if await is_met(condition, values) else unmet(id, condition, own=True)

    def _is_simulated(self, id: str) -> bool:
        return self.runs[id].node.backing is Backing.SIMULATION

    def _status(self, id: str) -> ExecutionStatus:
        return self.result.node_results[id].status

    def _unsatisfied(self, id: str) -> Iterator[str]:
        """Yield the incomplete among a node's parent, its dependencies and the nodes below these.

        Of an optional dependency, what a condition skipped is no obstacle.
        """
        graph_node = self._graph.nodes[id]
        parent = graph_node.parent
        gathers = parent is not None and self._graph.nodes[parent].gathers
        if parent is not None and not gathers and self._status(parent) is not ExecutionStatus.COMPLETED:
            yield parent
        for dependency in self._graph.awaited(id):
            if not self._is_whole(dependency):
                broken = self._broken(dependency)
                is_optional = dependency in graph_node.optional
                yield from (member for member in broken if not (is_optional and self.runs[member].condition_of))

    def _is_whole(self, id: str) -> bool:
        """Return whether a node and all below it completed; all of them have ended."""
        run = self.runs[id]
        if run.whole is None:
            members = (id, *self._graph.parts(id))
            run.whole = all(self._status(member) is ExecutionStatus.COMPLETED for member in members)
        return run.whole

    def _broken(self, id: str) -> Iterator[str]:
        """Yield the topmost nodes, from a dependency downwards, that did not complete."""
        for member in (id, *self._graph.parts(id)):
            parent = self._graph.nodes[member].parent
            below_broken = member != id and parent and self._status(parent) is not ExecutionStatus.COMPLETED
            if self._status(member) is not ExecutionStatus.COMPLETED and not below_broken:
                yield member

    def _learn(self, run: Run, feedback: dict[str, Any]) -> None:
        id = run.node.id
        self.result.add_feedback(id, feedback)
        suggestion = replan_suggestion(id, feedback, self._replan_below)
        if suggestion is not None:
            self.result.suggest_replan(suggestion)
        added = self.result.replan_suggestions[-1] if suggestion is not None else None
        self.notify(lambda observer: observer.feedback_recorded(id, feedback, added))

    def _finish(self, run: Run, result: NodeResult) -> None:
        node = run.node.node
        self.result.add_node_result(result)
        if result.status is ExecutionStatus.PENDING:
            return
        self.notify(lambda observer: (observer.node_reused if result.reused else observer.node_finished)(node, result))
