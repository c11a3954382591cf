"""A run as Prefect artifacts: a fixed number of them, whatever the size of the plan.

The keys depend on the plan alone, so Prefect's UI shows the history of a plan's runs below each of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger

from vibe_prefect.engine.publish.artifact_order import MIDDLE, create_ordered, delete_artifacts
from vibe_prefect.reporting.attempts_page import attempts_page
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.media import local_files
from vibe_prefect.reporting.outputs.approval_page import approval_page
from vibe_prefect.reporting.outputs.artifact_page import output_page
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.table import feedback_table
from vibe_prefect.text.escape import markdown

FIRST_SECONDS = 0.1
"""Seconds that a run lasts before it has artifacts; a shorter run shows its end alone, with fewer requests."""

BOUND_SECONDS = 15.0
"""Seconds that the server may take to accept an artifact."""

MAX_KEY = 150
"""Characters of a plan's id that a key keeps."""

FORMS = {
    "outputs": "markdown",
    "feedback": "table",
    "summary": "markdown",
    "attempts": "markdown",
    "approval": "markdown",
    "progress": "progress",
}
"""Types of the artifacts in Prefect, by what they show."""

AT_EACH_END = ("outputs", "feedback", "summary")
"""Artifacts that nearly every run has at its end: their places are taken while its nodes work."""


def artifact_key(plan_id: str, kind: str) -> str:
    """Return the key of one of a plan's artifacts: small letters, digits and dashes.

    Ids that differ only in what a key cannot hold get different keys, by a part of their hash.

    Args:
        plan_id: The plan's id.
        kind: One of `FORMS`.
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


class RunArtifacts:
    """The artifacts of one run. Each is one request at the run's end, where its place was taken before."""

    def __init__(self, client: PrefectClient, flow_run: FlowRun, plan_id: str) -> None:
        """Prepare the artifacts of a run; nothing is sent yet.

        Args:
            client: The server's client.
            flow_run: The run.
            plan_id: Its plan's id.
        """
        self._client = client
        self._flow_run = flow_run
        self._plan_id = plan_id
        self._places: dict[str, UUID] = {}
        self._unanswered: set[str] = set()
        self.ended = asyncio.Event()
        """Set when the run's nodes have ended."""
        # With SQLite a server writes one after another, and refuses what meets another write.
        self._turn = asyncio.Lock()

    async def take_places(self) -> None:
        """Create the artifacts of the run's end, each in its place, as long as the run goes on."""
        await is_set(self.ended, FIRST_SECONDS)
        for kind in AT_EACH_END:
            if self.ended.is_set():
                return
            is_table = FORMS[kind] == "table"
            data, description = ("[]", self._waiting) if is_table else (self._waiting, self._title(kind))
            try:
                async with asyncio.timeout(BOUND_SECONDS):
                    await self.put(kind, data, description)
            except Exception as error:  # noqa: BLE001 - each kind of failure; the end of the run tries it once more
                self._unanswered.add(kind)
                get_run_logger().debug("No place for the %s artifact yet: %s", kind, error)
                return

    async def publish(self, report: RunReport, folder: Path) -> None:
        """Put a run's outputs, questions, attempts, summary and feedback table into Prefect; a failure is logged.

        Args:
            report: Report of the run.
            folder: Folder with its files.
        """
        await asyncio.gather(
            self._publish("feedback", lambda: json.dumps(feedback_table(report))),
            self._publish("attempts", lambda: attempts_page(report)),
            self._publish("summary", lambda: markdown_summary(report)),
        )
        await self._publish("approval", lambda: approval_page(report, local_files(report, folder)))
        # Last, so that it also comes first where the newest does.
        await self._publish("outputs", lambda: output_page(report, local_files(report, folder)))

    async def put(self, kind: str, data: object, description: str) -> None:
        """Create an artifact, or change the one that there is.

        Args:
            kind: One of `FORMS`.
            data: What it holds.
            description: Text beside it.
        """
        async with self._turn:
            if kind in self._unanswered:
                await self._find_place(kind)
            if kind in self._places:
                await self._client.update_artifact(
                    self._places[kind], ArtifactUpdate(data=data, description=description)
                )
                return
            artifact = ArtifactCreate(
                key=artifact_key(self._plan_id, kind),
                type=FORMS[kind],
                description=description,
                data=data,
                flow_run_id=self._flow_run.id,
            )
            after = None if kind == "outputs" else self._places.get("outputs", MIDDLE)
            self._places[kind] = await create_ordered(self._client, artifact, after, self.ended.is_set)

    async def _find_place(self, kind: str) -> None:
        """Find what was created for a place although no answer came, and keep one of it."""
        mine = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[self._flow_run.id]),
            key=ArtifactFilterKey(any_=[artifact_key(self._plan_id, kind)]),
        )
        made = await self._client.read_artifacts(artifact_filter=mine)
        places = [artifact.id for artifact in made if self._waiting in (artifact.data, artifact.description)]
        if places:
            self._places[kind] = places[0]
            await delete_artifacts(self._client, places[1:])
        self._unanswered.discard(kind)

    async def _publish(self, kind: str, make: Callable[[], Any]) -> None:
        await tolerate(f"{kind} artifact", self._made(kind, make))

    async def _made(self, kind: str, make: Callable[[], Any]) -> None:
        data = await asyncio.to_thread(make)
        if data is not None:
            await self.put(kind, data, self._title(kind))
        elif kind in self._places:
            await delete_artifacts(self._client, [self._places.pop(kind)])

    @property
    def _waiting(self) -> str:
        """What an artifact holds until the run has ended."""
        return (
            f"Shown when the run has ended; `vibe-prefect report {self._flow_run.name}` shows what it has made so far."
        )

    def _title(self, kind: str) -> str:
        return f"{kind.title()} of {markdown(self._flow_run.name, 200)}"


async def is_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event so many seconds at most, and return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
