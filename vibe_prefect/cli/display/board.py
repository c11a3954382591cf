"""State of a run in progress, for the display to read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from threading import RLock

from typing_extensions import override

from vibe_prefect.core.approval import Question
from vibe_prefect.core.models import WorkflowNode, WorkflowPlan
from vibe_prefect.core.progress import AddedNode, RunObserver
from vibe_prefect.core.retries import Retry
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso


class Board(RunObserver):
    """An observer that keeps each node's state. The display reads it from a thread of its own, under `lock`."""

    def __init__(self, total: int) -> None:
        self.lock = RLock()
        self.total = total
        self.running: dict[str, float] = {}
        """Start of each running node, in seconds of the monotonic clock."""
        self.finished: dict[str, NodeResult] = {}
        """Results of the ended nodes, in the order in which they ended."""
        self.failed: list[NodeResult] = []
        self.told: dict[str, str] = {}
        """Latest progress message of each running node."""
        self.retries: dict[str, tuple[Retry, float]] = {}
        """Latest retry of each running node, and its begin in seconds of the monotonic clock."""
        self.waiting: set[str] = set()
        """Ids of the nodes that wait for a person's answer."""
        self.reused: set[str] = set()
        """Ids of the nodes that were reused from an earlier run."""
        self.added: dict[str, list[AddedNode]] = {}
        """Nodes that run for the items of lists, by the id of the node that they stand below."""
        self._counts: Counter[ExecutionStatus] = Counter()
        self.ended = False
        """Whether the run has ended, and only the server has work left."""
        self.begun = False
        """Whether the run has begun; until then only its start takes time."""
        self.took: dict[str, float] = {}
        """Seconds from the start to the end of each node that was executed, pauses before retries included."""
        self._begun_at = time.monotonic()
        self.started_at = now_iso()
        """Time when the run began, ISO 8601."""

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun_at

    def result(self, plan_id: str) -> ExecutionResult:
        """Return the result so far of a run that was stopped."""
        with self.lock:
            result = ExecutionResult(plan_id, ExecutionStatus.FAILED, started_at=self.started_at)
            result.node_results = dict(self.finished)
        result.completed_at = now_iso()
        result.total_duration = self.elapsed
        result.parallel_efficiency = result.calculate_parallel_efficiency()
        return result

    def count(self, status: ExecutionStatus) -> int:
        """Return the number of nodes that have ended with that status."""
        return self._counts[status]

    def status(self, id: str) -> ExecutionStatus:
        """Return the present status of a node."""
        if id in self.finished:
            return self.finished[id].status
        return ExecutionStatus.RUNNING if id in self.running else ExecutionStatus.PENDING

    @override
    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Record the begin of the run."""
        self.total = total
        self.note_begin(0.0)
        self.started_at = now_iso()

    @override
    def nodes_added(self, composite: WorkflowNode, added: Sequence[AddedNode]) -> None:
        """Record the nodes that run for the items of a list."""
        with self.lock:
            self.total += len(added)
            for item in added:
                self.added.setdefault(item.parent, []).append(item)

    def node_started(self, node: WorkflowNode) -> None:
        """Record a running node."""
        with self.lock:
            self.running[node.id] = time.monotonic()
            self.waiting.discard(node.id)

    def node_progressed(self, node: WorkflowNode, fraction: float | None, message: str) -> None:
        """Record the progress that a running node reports."""
        part = "" if fraction is None else f"{fraction:.0%}"
        with self.lock:
            self.told[node.id] = " ".join(filter(None, (part, message)))

    @override
    def node_retried(self, node: WorkflowNode, retry: Retry) -> None:
        """Record that a node waits for another attempt; what the failed one reported is past."""
        with self.lock:
            self.told.pop(node.id, None)
            self.retries[node.id] = retry, time.monotonic() + (retry.pause or 0.0)

    def note_begun(self, id: str, ago: float) -> None:
        """Record that a running node began some seconds ago."""
        with self.lock:
            self.running[id] = time.monotonic() - ago

    def note_begin(self, ago: float) -> None:
        """Record that the run began some seconds ago."""
        self._begun_at = time.monotonic() - ago
        self.begun = True

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Record the result of a node."""
        with self.lock:
            if node.id in self.running:
                self.took[node.id] = time.monotonic() - self.running.pop(node.id)
            self.told.pop(node.id, None)
            self.retries.pop(node.id, None)
            self.finished[node.id] = result
            self._counts[result.status] += 1
            if result.status is ExecutionStatus.FAILED:
                self.failed.append(result)

    @override
    def node_waits(self, node: WorkflowNode, question: Question) -> None:
        """Record that a node is not at work, but waits for a person's answer."""
        with self.lock:
            self.running.pop(node.id, None)
            self.waiting.add(node.id)

    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Record a node that was reused from an earlier run."""
        with self.lock:
            self.reused.add(node.id)
            self.node_finished(node, result)

    @override
    def run_finished(self, result: ExecutionResult) -> None:
        """Record the end of the run."""
        self.ended = True
