"""A run as Prefect artifacts: a fixed number of them, whatever the size of the plan.

The keys depend on the plan alone, so Prefect's UI shows the history of a plan's runs below each of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.logging import get_run_logger
from typing_extensions import override

from vibe_prefect.core.approval import Question
from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.progress import AddedNode, RunObserver
from vibe_prefect.engine.publish.artifact_order import create_ordered
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.unfold import UnfoldedPlan
from vibe_prefect.reporting.attempts_page import attempts_page
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.media import local_files
from vibe_prefect.reporting.outputs.approval_page import approval_page
from vibe_prefect.reporting.outputs.artifact_page import output_page
from vibe_prefect.reporting.progress_text import progress_note
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.table import feedback_table
from vibe_prefect.reporting.times.eta import NodeTime, seconds_left
from vibe_prefect.results import ExecutionStatus, NodeResult
from vibe_prefect.text.escape import markdown

FIRST_SECONDS = 0.1
"""Seconds that a run lasts before its progress is shown; a shorter run shows its end alone."""

INTERVAL_SECONDS = 2.0
"""Shortest time between two updates of the progress."""

MAX_EFFORT = 0.2
"""Largest part of the time that goes into updates: the estimate for a large plan, or a slow server, make them rarer."""

BOUND_SECONDS = 15.0
"""Seconds that the server may take to accept an artifact."""

MAX_KEY = 150
"""Characters of a plan's id that a key keeps."""


def artifact_key(plan_id: str, kind: str) -> str:
    """Return the key of one of a plan's artifacts: small letters, digits and dashes.

    Ids that differ only in what a key cannot hold get different keys, by a part of their hash.

    Args:
        plan_id: The plan's id.
        kind: `outputs`, `approval`, `attempts`, `summary`, `feedback` or `progress`.
    """
    name = re.sub(r"[^a-z0-9-]", "-", plan_id.lower())[:MAX_KEY]
    mark = "" if name == plan_id else f"-{hashlib.sha256(plan_id.encode()).hexdigest()[:8]}"
    return f"{name}{mark}-{kind}"


async def tolerate(what: str, work: Awaitable[object]) -> None:
    """Await work that the run does not depend on; a failure goes to the run's log."""
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            await work
    except Exception as error:  # noqa: BLE001 - a run never fails because of what is published about it
        reason = str(error) or f"no answer within {BOUND_SECONDS:g} s"
        get_run_logger().warning("The %s could not be written: %s: %s", what, type(error).__name__, reason)


class ProgressBoard(RunObserver):
    """Publishes the progress of a run as a Prefect progress artifact, updated during the run."""

    def __init__(
        self, client: PrefectClient, flow_run_id: UUID, compiled: CompiledPlan, concurrency: int | None = None
    ) -> None:
        """Make a publisher of progress; nothing is sent before `following`.

        Args:
            client: The server's client.
            flow_run_id: The run that the artifact belongs to.
            compiled: The plan of the run.
            concurrency: Largest number of nodes at once; `None` for no limit.
        """
        self._client = client
        self._flow_run_id = flow_run_id
        self._key = artifact_key(compiled.plan.id, "progress")
        self._id: UUID | None = None
        self._compiled = compiled
        self._concurrency = concurrency
        self._times = {id: _pending(node.node) for id, node in UnfoldedPlan(compiled).nodes.items()}
        self._started: dict[str, float] = {}
        self._begun_at = time.monotonic()
        self._failed: list[str] = []
        self._done = 0
        self._reused = 0
        self._shown: str | None = None
        self._follower: asyncio.Task[None] | None = None

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

    @asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        """Show the progress from time to time until the block ends; only `finish` waits for an update under way."""
        ended = asyncio.Event()
        self._begun_at = time.monotonic()
        self._follower = asyncio.create_task(self._follow(ended))
        try:
            yield
        except BaseException:
            self._follower.cancel()
            await asyncio.wait([self._follower])
            raise
        finally:
            ended.set()

    async def finish(self) -> None:
        """Show the progress at the run's end, after the update under way has arrived."""
        if self._follower is not None:
            await self._follower
        await self.show()

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
        if note != self._shown:
            await self._send(note)

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

    async def _follow(self, ended: asyncio.Event) -> None:
        wait = FIRST_SECONDS
        while not await _is_set(ended, wait):
            begun = time.monotonic()
            await self.show()
            wait = max(INTERVAL_SECONDS, (time.monotonic() - begun) / MAX_EFFORT)

    async def _send(self, note: str) -> None:
        percent = 100.0 * self._done / len(self._times) if self._times else 100.0
        if self._id is None:
            artifact = ArtifactCreate(
                key=self._key, type="progress", description=note, data=percent, flow_run_id=self._flow_run_id
            )
            self._id = await create_ordered(self._client, artifact, first=False)
        else:
            await self._client.update_artifact(self._id, ArtifactUpdate(description=note, data=percent))
        self._shown = note


def _pending(node: WorkflowNode) -> NodeTime:
    return NodeTime(node.type, ExecutionStatus.PENDING, node.estimated_duration)


async def publish_artifacts(
    client: PrefectClient, flow_run_id: UUID, report: RunReport, folder: Path, turn: asyncio.Lock
) -> None:
    """Put a run's outputs, questions, attempts, summary and feedback table into Prefect; a failure is logged.

    Args:
        client: The server's client.
        flow_run_id: The run that they belong to.
        report: Report of the run.
        folder: Folder with its files.
        turn: Held while an artifact is sent.
    """

    async def put(kind: str, form: str, make: Callable[[], Any]) -> None:
        data = await asyncio.to_thread(make)
        if data is not None:
            key, title = artifact_key(report.plan.id, kind), f"{kind.title()} of {markdown(report.run_name, 200)}"
            artifact = ArtifactCreate(key=key, type=form, description=title, data=data, flow_run_id=flow_run_id)
            async with turn:
                await create_ordered(client, artifact, first=kind == "outputs")

    await asyncio.gather(
        tolerate("feedback artifact", put("feedback", "table", lambda: json.dumps(feedback_table(report)))),
        tolerate("attempts artifact", put("attempts", "markdown", lambda: attempts_page(report))),
        tolerate("summary artifact", put("summary", "markdown", lambda: markdown_summary(report))),
    )
    asked = put("approval", "markdown", lambda: approval_page(report, local_files(report, folder)))
    await tolerate("approval artifact", asked)
    # Last, so that it also comes first where the newest does.
    page = put("outputs", "markdown", lambda: output_page(report, local_files(report, folder)))
    await tolerate("outputs artifact", page)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
