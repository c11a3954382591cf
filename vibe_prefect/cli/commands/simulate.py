"""`vibe-prefect run --simulate` in this process alone: it needs neither Prefect nor a server, and records nothing."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vibe_prefect.cli.commands.page import check_page, say_page, write_page
from vibe_prefect.cli.commands.run import RunRequest, check_folders, ended_state, print_header, reported
from vibe_prefect.cli.display.board import Board
from vibe_prefect.cli.display.console import Screen, flush
from vibe_prefect.cli.display.ended_run import EndedRun, print_report
from vibe_prefect.cli.display.lines import counted
from vibe_prefect.cli.display.live import LiveView, live
from vibe_prefect.cli.display.plain import PlainLines
from vibe_prefect.cli.display.summary import summary
from vibe_prefect.cli.exits import tell
from vibe_prefect.cli.process.interrupt import InterruptedRunError, Interruptible
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.core.run_values import RunFacts
from vibe_prefect.operations import CheckedPlan
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.results import ExecutionResult
from vibe_prefect.run.offline import OfflineRun

UNRECORDED = "nothing is recorded in Prefect; --record does that"


def simulate_plan(request: RunRequest) -> int:
    """Simulate a plan file and report on it; returns the exit code."""
    check_folders(request.options)
    check_page(request.report)
    plan = ready(request.plan, simulate=True, inputs=request.inputs)
    request.options.choice.check(plan.compiled)
    facts = RunFacts(_name(plan.compiled), datetime.now(UTC))
    simulated = replace(plan, compiled=plan.compiled.for_run(facts))
    return reported(lambda screen: _Simulation(request, simulated, screen).execute(), as_json=request.as_json)


def _name(compiled: CompiledPlan) -> str:
    return f"{compiled.plan.id}-simulated"


class _Simulation:
    """One simulation, and what it shows."""

    def __init__(self, request: RunRequest, plan: CheckedPlan, screen: Screen) -> None:
        self._request = request
        self._compiled = plan.compiled
        self._screen = screen
        self._board = Board(len(plan.compiled.nodes))
        lively = screen.lively and not request.quiet
        self._view = LiveView(plan.compiled, self._board, request.options.concurrency) if lively else None
        plain: list[RunObserver] = [] if lively or request.quiet else [PlainLines(screen, plan.compiled)]
        self._run = OfflineRun(plan.compiled, plan.tools, request.options, [self._board, *plain])

    def execute(self) -> EndedRun:
        """Run the simulation and print its result.

        Raises:
            InterruptedRunError: A signal stopped it; the message about that is printed.
        """
        if not self._request.quiet:
            print_header(self._screen, self._compiled, simulated=True)
            self._screen.say(UNRECORDED, "dim")
        showing: AbstractContextManager[Any] = live(self._screen, self._view) if self._view else nullcontext()
        interruptible = Interruptible(lambda _: None, flush)
        try:
            with showing:
                result = asyncio.run(interruptible.run(self._run.execute()))
        except InterruptedRunError:
            board = self._board
            tell(f"interrupted; {len(board.finished):,} of {counted(board.total, 'node')} had finished")
            self._write_page(board.result(self._compiled.plan.id), "Cancelled")
            raise
        report = self._report(result, ended_state(result))
        ended = EndedRun(self._run.compiled, result, None, simulated=True, ui_url=None, report=report)
        if self._view is not None:
            for line in summary(report, self._screen.limit):
                self._screen.say(line)
            self._screen.say()
        print_report(self._screen, ended)
        self._write_page(result, ended_state(result))
        return ended

    def _report(self, result: ExecutionResult, state: str) -> RunReport:
        identity = RunIdentity(
            run_id="",
            run_name=_name(self._compiled),
            state=state,
            resume_command=None,
            output_root=self._request.options.output,
            run_url=None,
            simulated=True,
        )
        return report_of(self._run.compiled, result, identity)

    def _write_page(self, result: ExecutionResult, state: str) -> None:
        if self._request.report is not None:
            say_page(self._screen, write_page(self._report(result, state), self._request.report))
