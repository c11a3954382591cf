"""`vibe-prefect run`: from a plan file to its result."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING

from rich.text import Text

from vibe_prefect.cli.commands.page import check_page, say_page, write_page
from vibe_prefect.cli.display.attempts import print_next_attempt
from vibe_prefect.cli.display.board import Board
from vibe_prefect.cli.display.console import Screen, err, flush, out
from vibe_prefect.cli.display.ended_run import (
    EndedRun,
    print_report,
    print_resume_hint,
    run_line,
    server_line,
    short_path,
    tool_options,
)
from vibe_prefect.cli.display.lines import counted, inputs_line, one_line
from vibe_prefect.cli.display.live import LiveView, live
from vibe_prefect.cli.display.plain import PlainLines, RunLine
from vibe_prefect.cli.display.prompt import TerminalPrompt
from vibe_prefect.cli.display.summary import summary
from vibe_prefect.cli.exits import PROGRAM, ExitCode, tell, warn
from vibe_prefect.cli.process.environment import Server, ask, prefect_server, quieten, server_failures
from vibe_prefect.cli.process.interrupt import InterruptedRunError, Interruptible
from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.core.user_code import DaemonExecutor
from vibe_prefect.errors import UsageError
from vibe_prefect.llm.provider.model_config import unused_keys
from vibe_prefect.operations import CheckedPlan
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.reading.edits import was_edited
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.results import ExecutionResult, ExecutionStatus, resume_command
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.registry import LLM_TOOL, SHORT_VARIABLE

if TYPE_CHECKING:
    from vibe_prefect.engine.local_run import RunHandle
    from vibe_prefect.executor import WorkflowExecutor

STARTING = "starting a Prefect server (some seconds; more the first time) ..."
SIMULATED = "simulated: no tool is called, nothing is spent or written"
DRAFT_TOOL = "llm_or_template"

SERVER_POLL_SECONDS = 1.0
"""Seconds between two checks whether a server on this machine still runs."""


class LostServerError(Exception):
    """The run was stopped since its server on this machine had ended."""


@dataclass(frozen=True)
class RunRequest:
    """Arguments of the command."""

    plan: str
    options: RunOptions
    as_json: bool
    quiet: bool
    report: Path | None = None
    """Path of a page about the run; `None` for no page."""

    plan_file: str | None = None
    """Absolute path of the plan's file; `None` where it is not known."""

    inputs: InputArguments = field(default_factory=InputArguments)
    """Inputs of the run; of a resumed one those that differ."""

    tools: tuple[Path, ...] = ()
    """Files of tools that the command line names; a resume has to name them again."""


def run_plan_file(request: RunRequest) -> int:
    """Run a plan file and report on it; returns the exit code."""
    check_folders(request.options)
    check_page(request.report)
    plan = ready_plan(request)
    request.options.choice.check(plan.compiled)
    return reported(lambda screen: _run(request, plan, screen), as_json=request.as_json)


def ready_plan(request: RunRequest) -> CheckedPlan:
    """Load and compile the plan of a run with its inputs; required ones may be missing where another run is resumed."""
    resumes = request.options.resume_from is not None
    plan = ready(request.plan, simulate=request.options.simulate, inputs=None if resumes else request.inputs)
    if not resumes:
        return plan
    given = request.inputs.values(plan.compiled.plan.inputs)
    return replace(plan, compiled=plan.compiled.with_given_inputs(given))


def reported(perform: Callable[[Screen], EndedRun], *, as_json: bool) -> int:
    """Perform a run and turn its report into output.

    Returns:
        The exit code.
    """
    # Output that a tool prints must not get into the JSON document.
    with redirect_stdout(sys.stderr if as_json else sys.stdout):
        try:
            report = perform(err() if as_json else out())
        except InterruptedRunError as interrupted:
            return interrupted.exit_code
        except LostServerError:
            return ExitCode.INTERNAL
    if as_json:
        from vibe_prefect.cli.display.documents import print_document

        print_document(report.document())
    return exit_code(report.result.status)


def exit_code(status: ExecutionStatus) -> ExitCode:
    """Return the exit code of a run by its status."""
    if status is ExecutionStatus.COMPLETED:
        return ExitCode.COMPLETED
    return ExitCode.WAITING if status is ExecutionStatus.PENDING else ExitCode.FAILED


def check_folders(options: RunOptions) -> None:
    """Refuse folders that cannot be the input root or the output folder."""
    if not Path(options.input_root).is_dir():
        raise UsageError(f"--input-root {options.input_root!r} is not a folder")
    if Path(options.output).exists() and not Path(options.output).is_dir():
        raise UsageError(f"--output {options.output!r} is not a folder")


def _run(request: RunRequest, plan: CheckedPlan, screen: Screen) -> EndedRun:
    if not request.quiet:
        print_header(screen, plan.compiled, simulated=request.options.simulate)
        print_model_hint(screen, plan)
    server = find_server(screen, quiet=request.quiet)
    if not request.quiet:
        screen.say(server_line(server.line))
    if request.options.resume_from is not None and plan.compiled.plan.inputs:
        from vibe_prefect.operations import with_earlier_inputs

        plan = ask(server, with_earlier_inputs(plan, request.options.resume_from))
    return execute(request, plan, screen, server)


def execute(request: RunRequest, plan: CheckedPlan, screen: Screen, server: Server) -> EndedRun:
    """Run a plan on a server, show its progress, and print its result; then the attempts that follow it, if any."""
    lively = screen.lively and not request.quiet
    ended = _Run(request, plan, screen, server, lively=lively).execute()
    while ended.handle is not None and ended.handle.next is not None:
        print_next_attempt(screen, ended.handle.next, request.options.adapt)
        attempt = replace(plan, compiled=ended.handle.next.compiled)
        request = replace(request, plan_file=None)  # the file has the plan without the edits
        ended = _Run(request, attempt, screen, server, lively=lively, before=ended.handle).execute()
    return ended


def print_header(screen: Screen, compiled: CompiledPlan, *, simulated: bool) -> None:
    """Print the plan that is about to run."""
    vibe = one_line(compiled.plan.source_vibe.description)
    screen.say(Text.assemble((compiled.plan.id, "bold"), f"  {vibe}"))
    counts = f"{counted(len(compiled.nodes), 'node')} in {counted(len(compiled.groups), 'group')}"
    screen.say(f"{counts}; {SIMULATED}" if simulated else counts, "dim")
    if given := compiled.values.inputs:
        screen.say(f"inputs   {inputs_line(given)}", "dim")


def print_model_hint(screen: Screen, plan: CheckedPlan) -> None:
    """Print a hint that a model could write the texts, where a key is there and no model is named."""
    if DRAFT_TOOL not in plan.compiled.tools or LLM_TOOL in plan.tools:
        return
    keys = unused_keys()
    if keys:
        verb = "is" if len(keys) == 1 else "are"
        text = f"templates write the texts: {' and '.join(keys)} {verb} set, but no model is named in {SHORT_VARIABLE}"
        screen.say(text, "dim")


def find_server(screen: Screen, *, quiet: bool) -> Server:
    """Find or start the Prefect server, and print so unless `quiet`."""
    if quiet:
        server = prefect_server(lambda: None)
    elif not screen.lively:
        server = prefect_server(lambda: screen.say(STARTING))
    else:
        with screen.console.status(Text("importing Prefect ...", "dim")) as status:
            server = prefect_server(lambda: status.update(Text(STARTING, "dim")))
    quieten(warn)
    return server


class _Run:
    """One run on its server, from the first node to the report."""

    def __init__(  # noqa: PLR0913 - the parts of one run
        self,
        request: RunRequest,
        plan: CheckedPlan,
        screen: Screen,
        server: Server,
        *,
        lively: bool,
        before: RunHandle | None = None,
    ) -> None:
        self._before = before
        self._request = request
        self._compiled = plan.compiled
        self._screen = screen
        self._server = server
        self._board = Board(len(plan.compiled.nodes))
        self._view = LiveView(plan.compiled, self._board, request.options.concurrency) if lively else None
        self._interruptible = Interruptible(self._stopping, self._give_up)
        self._executor = self._make_executor(plan)

    def execute(self) -> EndedRun:
        """Run the plan and print its result.

        Raises:
            InterruptedRunError: A signal stopped it; the message about that is printed.
            LostServerError: The server on this machine ended; the message about that is printed.
            StartError: The server does not answer as it should.
        """
        try:
            with server_failures(self._server):
                result = self._show_run()
        except InterruptedRunError:
            self._print_stopped("interrupted", "Cancelled")
            raise
        except BaseException as error:
            lost = self._lost_server()
            if lost is None:
                raise
            self._print_stopped(lost, "Crashed")
            raise LostServerError from error
        report = self._report(result)
        self._print_result(report)
        self._write_page(report.result, ended_state(report.result))
        return report

    def _make_executor(self, plan: CheckedPlan) -> WorkflowExecutor:
        from vibe_prefect.operations import executor_for

        return executor_for(
            plan, self._request.options, observers=self._observers(), prompt=self._prompt(), wait_recorded=True
        )

    def _prompt(self) -> TerminalPrompt | None:
        """Return what asks the person at the terminal; `None` where nobody sits there."""
        if not (self._screen.is_terminal and sys.stdin.isatty()) or self._request.as_json:
            return None
        from vibe_prefect.operations import person_name

        return TerminalPrompt(self._screen, person_name(None), self._stepped_aside)

    def _stepped_aside(self) -> AbstractContextManager[None]:
        return nullcontext() if self._view is None else self._view.stepped_aside()

    def _observers(self) -> list[RunObserver]:
        first: list[RunObserver] = [self._board, RunLine(self._begun)]
        if self._view or self._request.quiet:
            return first
        return [*first, PlainLines(self._screen, self._compiled)]

    def _show_run(self) -> ExecutionResult:
        if self._view is None:
            return asyncio.run(self._execute())
        with live(self._screen, self._view):
            return asyncio.run(self._execute())

    async def _execute(self) -> ExecutionResult:
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        watching = asyncio.create_task(self._watch_server())
        try:
            return await self._interruptible.run(self._execute_compiled())
        finally:
            watching.cancel()

    async def _watch_server(self) -> None:
        """Stop the run when its server has ended: nothing would be recorded, and Prefect would ask on."""
        while self._lost_server() is None:  # noqa: ASYNC110 - a process tells nobody of its end
            await asyncio.sleep(SERVER_POLL_SECONDS)
        self._interruptible.abandon(ExitCode.INTERNAL)

    def _lost_server(self) -> str | None:
        """Describe the end of a server on this machine; `None` where it has not ended, or is elsewhere."""
        ended = self._server.ended
        return None if ended is None else f"the Prefect server {ended}, so the run was stopped"

    async def _execute_compiled(self) -> ExecutionResult:
        options = self._request.options
        if self._before is not None:
            run = await self._executor.execute_next(self._before, options.choice)
        else:
            run = await self._executor.execute_attempt(
                self._compiled,
                resume_from=options.resume_from,
                choice=options.choice,
                plan_file=self._request.plan_file,
            )
        assert run.result is not None
        return run.result

    def _stopping(self, number: Signals) -> None:
        sender = "Ctrl-C" if number is Signals.SIGINT else number.name
        self._executor.note_stop(f"The run was stopped by {sender}, in the process that executed it.")
        if self._view is not None:
            self._view.note = "stopping (Ctrl-C again to end at once)"

    def _give_up(self) -> None:
        lost = self._lost_server()
        self._server.kill()
        if self._view is not None:
            self._screen.console.show_cursor(show=True)
        flush()
        if lost is None:
            os.write(2, f"\n{PROGRAM}: ended at once\n".encode())
        else:
            self._print_stopped(lost, "Crashed")

    def _begun(self) -> None:
        self._interruptible.listen()
        self._screen.say(run_line(self._handle))

    @property
    def _handle(self) -> RunHandle:
        handle = self._executor.last_run
        assert handle is not None
        return handle

    @property
    def _resume_command(self) -> str:
        return f"{resume_command(self._handle.name)}{tool_options(self._request.tools)}"

    def _report(self, result: ExecutionResult) -> EndedRun:
        url = self._server.flow_run_url(str(self._handle.flow_run_id))
        report = self._account(result, ended_state(result))
        return EndedRun(
            self._handle.compiled or self._compiled, result, self._handle, self._request.options.simulate, url, report
        )

    def _print_result(self, report: EndedRun) -> None:
        if self._view is not None:
            for line in summary(report.report, self._screen.limit):
                self._screen.say(line)
            self._screen.say()
        print_report(self._screen, report)

    def _print_stopped(self, reason: str, state: str) -> None:
        progress = f"{len(self._board.finished):,} of {counted(self._board.total, 'node')} had finished"
        tell(f"{reason}; {progress}, and what they made is kept")
        if self._executor.last_run is None:
            return
        if self._handle.output_root.is_dir():
            self._screen.say(f"outputs  {self._handle.output_root}")
        print_resume_hint(self._screen, self._resume_command)
        self._write_page(self._board.result(self._compiled.plan.id), state)

    def _account(self, result: ExecutionResult, state: str) -> RunReport:
        handle = self._handle
        completed = result.status is ExecutionStatus.COMPLETED
        plan_file = self._request.plan_file and short_path(Path(self._request.plan_file))
        identity = RunIdentity(
            run_id=str(handle.flow_run_id),
            run_name=handle.name,
            state=state,
            resume_command=None if completed else self._resume_command,
            output_root=str(handle.output_root),
            run_url=self._server.flow_run_url(str(handle.flow_run_id)),
            simulated=self._request.options.simulate,
            plan_file=plan_file,
            plan_changed=not completed and was_edited(self._request.plan_file, self._compiled.plan),
        )
        attempts = handle.report.attempts if handle.report is not None else ()
        return replace(report_of(handle.compiled or self._compiled, result, identity), attempts=attempts)

    def _write_page(self, result: ExecutionResult, state: str) -> None:
        if self._request.report is not None:
            say_page(self._screen, write_page(self._account(result, state), self._request.report))


def ended_state(result: ExecutionResult) -> str:
    """Return Prefect's name of the state that a run has ended in."""
    if result.status is ExecutionStatus.PENDING:
        return "Waiting"
    return "Failed" if result.status is ExecutionStatus.FAILED else "Completed"
