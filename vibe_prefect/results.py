"""Results of runs: a result for each node, and the run's own summary. The shapes are the contract's."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from vibe_prefect.provenance import NodeProvenance


class ExecutionStatus(StrEnum):
    """Status of a node, or of the run as a whole."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


FINISHED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED})
"""The statuses in which a node stays."""


def now_iso() -> str:
    """Return the present time in UTC as ISO 8601."""
    return datetime.now(UTC).isoformat()


def resume_command(name: str) -> str:
    """Return the shell command that resumes a run."""
    return f"vibe-prefect resume {shlex.quote(name)}"


def output_command(name: str, node_id: str | None = None) -> str:
    """Return the shell command that prints the output of a node of a run, or lists the results of the run."""
    return " ".join(["vibe-prefect output", *map(shlex.quote, (name, node_id) if node_id else (name,))])


@dataclass
class NodeResult:
    """Result of one node."""

    node_id: str
    """The node's id."""

    status: ExecutionStatus
    """Status in which it ended."""

    result: Any = None
    """Return value of its handler, as JSON data; `None` unless the node completed."""

    error: str | None = None
    """Reason why it failed or was skipped."""

    duration: float = 0.0
    """Seconds that its own work took, all attempts together; waiting for a slot or a retry is not in it."""

    started_at: str | None = field(default_factory=now_iso)
    """Time when its first attempt began, or when it was skipped, ISO 8601; `None` where it is not known."""

    reused: bool = False
    """Whether it was reused from an earlier run."""

    provenance: NodeProvenance | None = None
    """How it came about: its attempts and the run that executed it; `None` where it was not executed, or not known."""


@dataclass
class ExecutionResult:
    """Result of a run. Its `repr` is short: `asyncio.run` writes out what a task returned, however large it is."""

    plan_id: str
    """The plan's id."""

    status: ExecutionStatus = ExecutionStatus.PENDING
    """FAILED if any node failed, else COMPLETED, once the run has ended."""

    node_results: dict[str, NodeResult] = field(default_factory=dict[str, NodeResult], repr=False)
    """One result for each node by its id, in plan order once the run has ended."""

    started_at: str = field(default_factory=now_iso)
    """Time when the run began, ISO 8601."""

    completed_at: str | None = None
    """Time when it ended, ISO 8601."""

    total_duration: float = 0.0
    """Seconds from its begin to its end."""

    parallel_efficiency: float = 0.0
    """The part of the nodes' own time that running side by side saved: 0 to 1."""

    execution_groups: list[list[str]] = field(default_factory=list[list[str]], repr=False)
    """The topological groups of the whole plan, each in plan order."""

    feedback_data: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]], repr=False)
    """Feedback about each executed node, by its id."""

    replan_suggestions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]], repr=False)
    """Suggestions for a planner, each with a `timestamp`."""

    def add_node_result(self, result: NodeResult) -> None:
        """Store a node's result under its id."""
        self.node_results[result.node_id] = result

    def is_complete(self) -> bool:
        """Return whether every recorded node has completed, failed or been skipped."""
        return all(result.status in FINISHED for result in self.node_results.values())

    def count(self, status: ExecutionStatus) -> int:
        """Return how many nodes have that status."""
        return sum(result.status == status for result in self.node_results.values())

    def ids(self, status: ExecutionStatus | str) -> tuple[str, ...]:
        """Return the ids of the nodes that have that status."""
        return tuple(id for id, result in self.node_results.items() if result.status == status)

    def get_summary(self) -> dict[str, Any]:
        """Return the run in ten values, ready for JSON; durations in seconds."""
        return {
            "plan_id": self.plan_id,
            "status": self.status.value,
            "total_nodes": len(self.node_results),
            "completed": self.count(ExecutionStatus.COMPLETED),
            "failed": self.count(ExecutionStatus.FAILED),
            "total_duration": self.total_duration,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "parallel_efficiency": self.parallel_efficiency,
            "execution_groups": len(self.execution_groups),
        }

    def calculate_parallel_efficiency(self) -> float:
        """Return `max(0, (sum of node durations - total_duration) / sum of node durations)`, 0.0 without node time."""
        node_time = sum(result.duration for result in self.node_results.values())
        return max(0.0, (node_time - self.total_duration) / node_time) if node_time > 0 else 0.0

    def add_feedback(self, node_id: str, feedback: dict[str, Any]) -> None:
        """Store feedback about a node."""
        self.feedback_data[node_id] = feedback

    def suggest_replan(self, suggestion: dict[str, Any]) -> None:
        """Add a suggestion, with the present time under `timestamp` unless it brings its own."""
        self.replan_suggestions.append({"timestamp": now_iso(), **suggestion})

    def should_replan(self) -> bool:
        """Return whether more than one node failed, or anything was suggested."""
        return self.count(ExecutionStatus.FAILED) > 1 or bool(self.replan_suggestions)
