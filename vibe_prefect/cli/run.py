"""`vibe-prefect run`: from a plan file to what came of it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from vibe_prefect.cli.board import Board
from vibe_prefect.cli.console import Screen, err, flush, out, write
from vibe_prefect.cli.environment import Server, prefect_server, quieten
from vibe_prefect.cli.exits import ExitCode, tell, warn
from vibe_prefect.cli.interrupt import InterruptedRunError, Interruptible
from vibe_prefect.cli.live import LiveView, live
from vibe_prefect.cli.plain import PlainLines, RunLine
from vibe_prefect.cli.plans import ReadyPlan, mode, ready
from vibe_prefect.cli.report import RunReport, print_report, run_line
from vibe_prefect.cli.text import counted, one_line
from vibe_prefect.errors import UsageError
from vibe_prefect.progress import RunObserver
from vibe_prefect.results import ExecutionResult, ExecutionStatus

if TYPE_CHECKING:
    from vibe_prefect.executor import WorkflowExecutor

MAX_FINAL_TREE = 60
"""Nodes up to which the whole tree stays on the terminal when the run has ended."""


@dataclass(frozen=True)
class RunRequest:
    """What the user asked for."""

    plan: str
    simulate: bool
    concurrency: int
    input_root: Path
    output: Path
    as_json: bool
    quiet: bool


def run_plan_file(request: RunRequest) -> int:
    """Run a plan file and report on it.

    Returns:
        The exit code.
    """
    _check_folders(request)
    plan = ready(request.plan, mode(simulate=request.simulate))
    command = _RunCommand(request, plan, err() if request.as_json else out())
    # What a tool prints must not get into the JSON document.
    with redirect_stdout(sys.stderr if request.as_json else sys.stdout):
        report = command.run()
    if isinstance(report, int):
        return report
    if request.as_json:
        write(report.as_json())
    failed = report.result.status is ExecutionStatus.FAILED
    return ExitCode.FAILED if failed else ExitCode.COMPLETED


def _check_folders(request: RunRequest) -> None:
    if not request.input_root.is_dir():
        raise UsageError(f"--input-root {str(request.input_root)!r} is not a folder")
    if request.output.exists() and not request.output.is_dir():
        raise UsageError(f"--output {str(request.output)!r} is not a folder")


class _RunCommand:
    """One run, from the header to the report."""

    def __init__(self, request: RunRequest, plan: ReadyPlan, screen: Screen) -> None:
        self._request = request
        self._plan = plan
        self._screen = screen
        self._board = Board(len(plan.compiled.nodes))
        self._view = LiveView(plan.compiled, self._board)
        self._lively = screen.lively and not request.quiet

    def run(self) -> RunReport | int:
        """Run the plan; an interrupted run has no report, but an exit code."""
        self._print_header()
        server = self._server()
        quieten(warn)
        self._executor = self._make_executor()
        try:
            result = self._execute(server)
        except InterruptedRunError as interrupted:
            self._print_interrupted()
            return interrupted.exit_code
        report = self._report(result, server)
        self._print_result(report)
        return report

    def _print_header(self) -> None:
        compiled = self._plan.compiled
        vibe = one_line(compiled.plan.source_vibe.description)
        self._screen.say(Text.assemble((compiled.plan.id, "bold"), f"  {vibe}"))
        counts = f"{counted(len(compiled.nodes), 'node')} in {counted(len(compiled.groups), 'group')}"
        simulated = "; simulated: no tool is called, nothing is spent or written"
        self._screen.say(counts + (simulated if self._request.simulate else ""), "dim")

    def _server(self) -> Server:
        text = "starting Prefect's embedded server (some seconds; more the first time) ..."
        if not self._lively:
            return prefect_server(lambda: self._screen.say(text))
        with self._screen.status(Text("importing Prefect ...", "dim")) as status:
            return prefect_server(lambda: status.update(Text(text, "dim")))

    def _make_executor(self) -> WorkflowExecutor:
        from vibe_prefect.executor import WorkflowExecutor

        request = self._request
        return WorkflowExecutor(
            tool_registry=self._plan.tools,
            simulate=mode(simulate=request.simulate),
            concurrency=request.concurrency,
            observers=self._observers(),
            input_root=request.input_root,
            output=request.output,
            wait_recorded=True,
        )

    def _observers(self) -> list[RunObserver]:
        first: list[RunObserver] = [self._board, RunLine(self._print_run)]
        if self._lively or self._request.quiet:
            return first
        return [*first, PlainLines(self._screen, self._plan.compiled)]

    def _print_run(self) -> None:
        handle = self._executor.last_run
        assert handle is not None
        self._screen.say(run_line(handle))

    def _execute(self, server: Server) -> ExecutionResult:
        interruptible = Interruptible(self._stopping, lambda: self._give_up(server))

        async def work() -> ExecutionResult:
            return await interruptible.run(self._executor.execute_compiled(self._plan.compiled))

        if not self._lively:
            return asyncio.run(work())
        with live(self._screen, self._view):
            return asyncio.run(work())

    def _stopping(self) -> None:
        self._view.note = "stopping (Ctrl-C again to end at once)"

    def _give_up(self, server: Server) -> None:
        server.kill()
        self._screen.show_cursor(show=True)
        flush()
        os.write(2, b"\nvibe-prefect: ended at once\n")

    def _report(self, result: ExecutionResult, server: Server) -> RunReport:
        handle = self._executor.last_run
        assert handle is not None
        url = server.flow_run_url(str(handle.flow_run_id))
        return RunReport(self._plan.compiled, result, handle, self._request.simulate, url)

    def _print_result(self, report: RunReport) -> None:
        if self._lively and self._board.total <= MAX_FINAL_TREE:
            for line in self._view.final_tree(self._screen.width):
                self._screen.say(line)
        print_report(self._screen, report)

    def _print_interrupted(self) -> None:
        board = self._board
        done = f"{len(board.finished):,} of {counted(board.total, 'node')} had finished"
        tell(f"interrupted; {done}, and what they made is kept")
        handle = self._executor.last_run
        if handle is not None and handle.output_root.is_dir():
            self._screen.say(f"outputs  {handle.output_root}")
