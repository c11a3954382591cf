"""Feedback about a run: artifacts, events and assets in Prefect, and the report beside the records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from vibe_prefect.core.progress import RunObserver
from vibe_prefect.engine.node_states import WAITS
from vibe_prefect.engine.publish.artifacts import RunArtifacts, tolerate
from vibe_prefect.engine.publish.assets import tell_assets
from vibe_prefect.engine.publish.drain import uses_embedded_server
from vibe_prefect.engine.publish.events import RunEvents
from vibe_prefect.engine.publish.progress_board import ProgressBoard
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.server.ui_pages import run_page
from vibe_prefect.plan.compiler import Backing, CompiledPlan
from vibe_prefect.plan.reading.edits import was_edited
from vibe_prefect.reporting.attempts import RunAttempt
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.results import ExecutionResult, ExecutionStatus, resume_command


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """Feedback settings: the kinds of feedback that are published."""

    artifacts: bool
    """Whether artifacts are put into Prefect."""

    events: bool
    """Whether events, of assets too, are sent."""


class RunFeedback:
    """One run's feedback: its observers during the run, and its publishers at the end."""

    def __init__(  # noqa: PLR0913 - the parts of one run
        self,
        client: PrefectClient,
        flow_run: FlowRun,
        compiled: CompiledPlan,
        output_root: Path,
        outlets: FeedbackSettings,
        concurrency: int | None = None,
        plan_file: str | None = None,
    ) -> None:
        """Prepare the feedback of a run; nothing is sent yet."""
        self._client = client
        self._flow_run = flow_run
        self._written = compiled.plan
        self.compiled = compiled
        """The plan; once the run has ended, with the nodes that ran for the items of lists."""
        self._output_root = output_root
        self._outlets = outlets
        self._plan_file = plan_file
        self._reported: tuple[ExecutionResult, RunReport] | None = None
        self._artifacts = RunArtifacts(client, flow_run, compiled.plan.id)
        self._board = ProgressBoard(self._artifacts, compiled, concurrency) if outlets.artifacts else None
        self._under_way: list[asyncio.Task[None]] = []

    @property
    def observers(self) -> tuple[RunObserver, ...]:
        """Observers of each step of the run."""
        board = (self._board,) if self._board else ()
        return (
            (*board, RunEvents(self._flow_run, self.compiled.plan.id, self.report)) if self._outlets.events else board
        )

    @asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        """Show the run's progress, and take the places of its artifacts, until the block ends."""
        if self._board is None:
            yield
            return
        steps = (self._artifacts.take_places(), self._board.follow())
        self._under_way = [asyncio.create_task(step) for step in steps]
        try:
            yield
        except BaseException:
            for task in self._under_way:
                task.cancel()
            await asyncio.wait(self._under_way)
            raise
        finally:
            self._artifacts.ended.set()

    def report(self, result: ExecutionResult) -> RunReport:
        """Return the report of the run, made once from the result of its end."""
        if self._reported is None or self._reported[0] is not result:
            self._reported = result, report_of(self.compiled, result, self._identity(result))
        return self._reported[1]

    def note_attempts(self, result: ExecutionResult, attempts: tuple[RunAttempt, ...]) -> None:
        """Note the attempts of an adaptive run, this run the last, for the report of its end."""
        self._reported = result, replace(self.report(result), attempts=attempts)

    async def publish(self, result: ExecutionResult, records: Records) -> None:
        """Write the run's report, and publish its feedback to Prefect; a failure is logged and stops nothing."""
        report = self.report(result)
        publishers = [tolerate("run's report", records.write_report(report))]
        if self._board is not None:
            publishers.append(self._publish_artifacts(self._board, report))
        if self._outlets.events:
            publishers.append(tolerate("run's assets", self._tell_assets(report)))
        await asyncio.gather(*publishers)

    async def _publish_artifacts(self, board: ProgressBoard, report: RunReport) -> None:
        await asyncio.gather(*self._under_way)  # what is on its way arrives first
        await asyncio.gather(board.show(), self._artifacts.publish(report, self._output_root))

    async def _tell_assets(self, report: RunReport) -> None:
        tell_assets(report, self._output_root)

    def _identity(self, result: ExecutionResult) -> RunIdentity:
        ended = result.status is ExecutionStatus.COMPLETED
        failed = result.status is ExecutionStatus.FAILED
        name = self._flow_run.name
        return RunIdentity(
            run_id=str(self._flow_run.id),
            run_name=name,
            state="Failed" if failed else "Completed" if ended else WAITS,
            resume_command=None if ended else resume_command(name),
            output_root=str(self._output_root),
            run_url=None if uses_embedded_server() else run_page(self._flow_run.id),
            plan_file=self._plan_file,
            plan_changed=not ended and was_edited(self._plan_file, self._written),
            simulated=all(node.backing is Backing.SIMULATION for node in self.compiled.nodes.values()),
        )
