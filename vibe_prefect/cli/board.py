"""What is known of a run while it goes on, for the display to read."""

from __future__ import annotations

import time
from collections import Counter
from threading import RLock

from vibe_prefect.models import WorkflowNode, WorkflowPlan
from vibe_prefect.progress import RunObserver
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult


class Board(RunObserver):
    """An observer that keeps each node's state. The display reads it from a thread of its own, under `lock`."""

    def __init__(self, total: int) -> None:
        self.lock = RLock()
        self.total = total
        self.running: dict[str, float] = {}
        """When each running node started, by the monotonic clock."""
        self.finished: dict[str, NodeResult] = {}
        """What came of the others, in the order in which they ended."""
        self.failed: list[NodeResult] = []
        self.notes: dict[str, str] = {}
        """How far running nodes say that they are."""
        self._counts: Counter[ExecutionStatus] = Counter()
        self.ended = False
        """Whether all that is left to do is the server's."""
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun

    def count(self, status: ExecutionStatus) -> int:
        """Return how many nodes have ended with that status."""
        return self._counts[status]

    def status(self, id: str) -> ExecutionStatus:
        """Return how far a node is."""
        if id in self.finished:
            return self.finished[id].status
        return ExecutionStatus.RUNNING if id in self.running else ExecutionStatus.PENDING

    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Note when it began."""
        self._begun = time.monotonic()

    def node_started(self, node: WorkflowNode) -> None:
        """Note a running node."""
        with self.lock:
            self.running[node.id] = time.monotonic()

    def node_progressed(self, node: WorkflowNode, fraction: float | None, message: str) -> None:
        """Note how far a node is."""
        part = f"{fraction:.0%}  " if fraction is not None else ""
        with self.lock:
            self.notes[node.id] = f"{part}{message}"

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note what came of a node."""
        with self.lock:
            self.running.pop(node.id, None)
            self.notes.pop(node.id, None)
            self.finished[node.id] = result
            self._counts[result.status] += 1
            if result.status is ExecutionStatus.FAILED:
                self.failed.append(result)

    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note a node that was complete before."""
        self.node_finished(node, result)

    def run_finished(self, result: ExecutionResult) -> None:
        """Note the end."""
        self.ended = True
