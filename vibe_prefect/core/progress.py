"""The contract's progress events, made from the engine's notifications."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from typing_extensions import override

from vibe_prefect.core.approval import Question
from vibe_prefect.core.models import WorkflowNode, WorkflowPlan
from vibe_prefect.core.outputs import beginning_of
from vibe_prefect.core.retries import Retry
from vibe_prefect.core.user_code import isolated
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso

logger = logging.getLogger(__name__)

PREVIEW_LENGTH = 100
"""Number of characters of a result in an event."""


class ProgressEventType(StrEnum):
    """Kind of event."""

    WORKFLOW_STARTED = "workflow_started"
    WORKFLOW_COMPLETED = "workflow_completed"
    NODE_STARTED = "node_started"
    NODE_COMPLETED = "node_completed"
    NODE_FAILED = "node_failed"
    GROUP_STARTED = "group_started"
    GROUP_COMPLETED = "group_completed"


@dataclass(frozen=True, slots=True)
class AddedNode:
    """A node that came to be known during a run: it runs for an item of a list."""

    node: WorkflowNode
    """The node."""

    parent: str
    """Id of the node that it stands below."""

    template: str
    """Its id as the plan has it."""

    key: str
    """Its content key."""


@dataclass
class ProgressEvent:
    """One step of a run."""

    event_type: ProgressEventType
    """Kind of event."""

    node_id: str | None = None
    """Id of the node; `None` for the run and its groups."""

    progress_percent: float = 0.0
    """Finished nodes of all nodes, 0 to 100; never goes back within a run."""

    message: str = ""
    """The same for people."""

    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """Facts that belong to the kind of event."""

    timestamp: str = field(default_factory=now_iso)
    """Time of the step, ISO 8601."""


ProgressCallback = Callable[[ProgressEvent], object]


class RunObserver:
    """Receiver of the steps of a run, in order and on the event loop's thread. Override the methods you need."""

    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """The run begins; `reused` of its `total` nodes are complete already."""

    def nodes_added(self, composite: WorkflowNode, added: Sequence[AddedNode]) -> None:
        """The list of a composite with `for_each` has come to be known, and so the nodes that run for its items.

        Those that the plan has below it are templates and not among the nodes of the run.
        """

    def node_started(self, node: WorkflowNode) -> None:
        """A node begins its work."""

    def node_progressed(self, node: WorkflowNode, fraction: float | None, message: str) -> None:
        """A node has made progress: to a fraction of its work, 0 to 1, where that is known."""

    def node_retried(self, node: WorkflowNode, retry: Retry) -> None:
        """An attempt at a node has failed, and another one follows after a pause. Progress callbacks get no event."""

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """A node has completed, failed or been skipped."""

    def node_waits(self, node: WorkflowNode, question: Question) -> None:
        """A node waits, beyond the end of the run, for a person's answer; it and its dependents stay pending."""

    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """A node is reused: it completed in the run that this one resumes."""

    def feedback_recorded(self, node_id: str, feedback: dict[str, Any], suggestion: dict[str, Any] | None) -> None:
        """A node's feedback is there, and a suggestion to replan where there is one; `node_finished` follows."""

    def run_finished(self, result: ExecutionResult) -> None:
        """The run has ended."""


def notify(observers: Iterable[RunObserver], call: Callable[[RunObserver], object]) -> None:
    """Call each observer; an error in one of them is logged, and hurts neither the run nor the others.

    Args:
        observers: The observers, in order.
        call: Calls the method of one observer.
    """
    for observer in observers:
        with isolated(logger, f"The observer {type(observer).__name__} raised"):
            call(observer)


class ProgressReporter(RunObserver):
    """An observer that calls back with the contract's events. A callback that raises is logged and hurts nothing."""

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._total = 0
        self._finished = 0
        self._groups: tuple[tuple[str, ...], ...] = ()
        self._group_of: dict[str, int] = {}
        self._unfinished: list[int] = []
        self._begun: set[int] = set()
        self._percent_sent = 0.0

    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Send `workflow_started`."""
        self._total = total
        self._finished = reused
        self._begun = set()
        self._percent_sent = 0.0
        self._groups = groups
        self._group_of = {id: index for index, group in enumerate(groups) for id in group}
        self._unfinished = [len(group) for group in groups]
        text = f"Resuming workflow: {plan.id} ({reused} nodes already complete)"
        self._send(ProgressEventType.WORKFLOW_STARTED, message=text if reused else f"Starting workflow: {plan.id}")

    @override
    def nodes_added(self, composite: WorkflowNode, added: Sequence[AddedNode]) -> None:
        """Count the nodes of a list in the group of its composite."""
        index = self._group_of[composite.id]
        self._group_of |= dict.fromkeys((item.node.id for item in added), index)
        self._unfinished[index] += len(added)
        self._total += len(added)

    def node_started(self, node: WorkflowNode) -> None:
        """Send `node_started`, after `group_started` when the node is the first of its group."""
        index = self._group_of[node.id]
        if index not in self._begun:
            self._begun.add(index)
            self._send_group(ProgressEventType.GROUP_STARTED, index)
        self._send(ProgressEventType.NODE_STARTED, node.id, f"Starting: {node.description}")

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Send `node_completed` or `node_failed`, then `group_completed` when the node is the last of its group."""
        self._finished = min(self._total, self._finished + 1)
        if result.status is ExecutionStatus.COMPLETED:
            preview = beginning_of(result.result, PREVIEW_LENGTH)
            metadata = {"duration": result.duration, "result_preview": preview}
            self._send(ProgressEventType.NODE_COMPLETED, node.id, f"Completed: {node.description}", metadata)
        elif result.status is ExecutionStatus.FAILED:
            metadata = {"duration": result.duration, "error": result.error}
            text = f"Failed: {node.description} - {result.error}"
            self._send(ProgressEventType.NODE_FAILED, node.id, text, metadata)
        self._close_group(node)

    @override
    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Send `group_completed` when the node is the last of a group that has begun; the percentage includes it."""
        self._close_group(node)

    def run_finished(self, result: ExecutionResult) -> None:
        """Send `workflow_completed`."""
        self._finished = self._total
        word = "waits" if result.status is ExecutionStatus.PENDING else "completed"
        word = "failed" if result.status is ExecutionStatus.FAILED else word
        self._send(ProgressEventType.WORKFLOW_COMPLETED, message=f"Workflow {word}: {result.plan_id}")

    def _close_group(self, node: WorkflowNode) -> None:
        index = self._group_of[node.id]
        self._unfinished[index] -= 1
        if not self._unfinished[index] and index in self._begun:
            self._send_group(ProgressEventType.GROUP_COMPLETED, index)

    def _percent(self, event_type: ProgressEventType) -> float:
        if event_type is ProgressEventType.WORKFLOW_COMPLETED:
            return 100.0
        self._percent_sent = max(self._percent_sent, 100.0 * self._finished / self._total if self._total else 0.0)
        return self._percent_sent

    def _send_group(self, event_type: ProgressEventType, index: int) -> None:
        nodes = list(self._groups[index])
        verb = "Starting" if event_type is ProgressEventType.GROUP_STARTED else "Completed"
        text = f"{verb} group {index + 1} of {len(self._groups)} ({len(nodes)} nodes)"
        self._send(event_type, message=text, metadata={"group_size": len(nodes), "group_nodes": nodes})

    def _send(
        self,
        event_type: ProgressEventType,
        node_id: str | None = None,
        message: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        event = ProgressEvent(event_type, node_id, self._percent(event_type), message, metadata or {})
        with isolated(logger, f"The progress callback raised at {event_type}"):
            self._callback(event)
