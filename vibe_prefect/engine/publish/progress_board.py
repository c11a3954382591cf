"""Progress of a run, shown by an artifact that changes while the run goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from vibe_prefect.core.approval import Question
from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.progress import AddedNode, RunObserver
from vibe_prefect.engine.publish.artifacts import FIRST_SECONDS, RunArtifacts, is_set, tolerate
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.unfold import UnfoldedPlan
from vibe_prefect.reporting.progress_text import progress_note
from vibe_prefect.reporting.times.eta import NodeTime, seconds_left
from vibe_prefect.results import ExecutionStatus, NodeResult

INTERVAL_SECONDS = 2.0
"""Shortest time between two updates of the progress."""

MAX_EFFORT = 0.2
"""Largest part of the time that goes into updates: the estimate for a large plan, or a slow server, make them rarer."""


class ProgressBoard(RunObserver):
    """Publishes the progress of a run as a Prefect progress artifact, updated during the run."""

    def __init__(self, artifacts: RunArtifacts, compiled: CompiledPlan, concurrency: int | None = None) -> None:
        """Make a publisher of progress; nothing is sent before `following`.

        Args:
            artifacts: The artifacts of the run.
            compiled: The plan of the run.
            concurrency: Largest number of nodes at once; `None` for no limit.
        """
        self._artifacts = artifacts
        self._compiled = compiled
        self._concurrency = concurrency
        self._times = {id: _pending(node.node) for id, node in UnfoldedPlan(compiled).nodes.items()}
        self._started: dict[str, float] = {}
        self._begun_at = time.monotonic()
        self._failed: list[str] = []
        self._done = 0
        self._reused = 0
        self._shown: str | None = None

    @override
    def nodes_added(self, composite: WorkflowNode, added: Sequence[AddedNode]) -> None:
        """Note the nodes that run for the items of a list."""
        self._times |= {item.node.id: _pending(item.node) for item in added}

    def node_started(self, node: WorkflowNode) -> None:
        """Note that a node is at work."""
        self._started[node.id] = time.monotonic()

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note the end of a node."""
        self._note_end(node, result, spent=result.duration)
        if result.status is ExecutionStatus.FAILED:
            self._failed.append(node.id)

    def node_waits(self, node: WorkflowNode, question: Question) -> None:
        """Note that a node is not at work, but waits for a person's answer."""
        self._started.pop(node.id, None)

    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note a reused node."""
        self._note_end(node, result, spent=None)
        self._reused += 1

    def _note_end(self, node: WorkflowNode, result: NodeResult, spent: float | None) -> None:
        self._done += 1
        self._started.pop(node.id, None)
        self._times[node.id] = replace(self._times[node.id], status=result.status, spent=spent)

    async def follow(self) -> None:
        """Show the progress from time to time until the run's nodes have ended."""
        self._begun_at = time.monotonic()
        wait = FIRST_SECONDS
        while not await is_set(self._artifacts.ended, wait):
            begun = time.monotonic()
            await self.show()
            wait = max(INTERVAL_SECONDS, (time.monotonic() - begun) / MAX_EFFORT)

    async def show(self) -> None:
        """Show the present progress, unless it is shown already."""
        await tolerate("progress artifact", self._show())

    async def _show(self) -> None:
        note = progress_note(
            self._done,
            len(self._times),
            running=list(self._started),
            failed=self._failed,
            reused=self._reused,
            eta=await self._seconds_left(),
        )
        if note == self._shown:
            return
        percent = 100.0 * self._done / len(self._times) if self._times else 100.0
        await self._artifacts.put("progress", percent, note)
        self._shown = note

    async def _seconds_left(self) -> float | None:
        # A list may become any number of nodes: before it is known there is no estimate, and no graph of them after.
        if self._done == len(self._times) or any(place.gathers for place in self._compiled.graph.nodes.values()):
            return None
        now = time.monotonic()
        running = {
            id: replace(self._times[id], status=ExecutionStatus.RUNNING, spent=now - started)
            for id, started in self._started.items()
        }
        return await asyncio.to_thread(
            seconds_left, self._compiled.graph, self._times | running, self._concurrency, now - self._begun_at
        )


def _pending(node: WorkflowNode) -> NodeTime:
    return NodeTime(node.type, ExecutionStatus.PENDING, node.estimated_duration)
