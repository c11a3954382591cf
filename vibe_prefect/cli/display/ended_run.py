"""Result of a run, for people and for machines."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from vibe_prefect.cli.display.attempts import attempt_lines
from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import LABEL, columns, counted, fact_line, one_line, seconds, size
from vibe_prefect.cli.display.outcomes import outcome_lines, print_next_steps
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.reporting.next_steps import next_steps
from vibe_prefect.reporting.words import judgements, spending
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult

if TYPE_CHECKING:
    from vibe_prefect.cli.display.documents import RunDocument, RunNode
    from vibe_prefect.engine.local_run import RunHandle
    from vibe_prefect.reporting.report import RunReport

MAX_FILES = 20


@dataclass(frozen=True)
class MadeFile:
    """A file that a run has written."""

    path: str
    """Relative to the run's folder."""

    bytes: int


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended."""

    compiled: CompiledPlan
    result: ExecutionResult
    handle: RunHandle | None
    """The run in Prefect; `None` where it was not recorded."""

    simulated: bool
    ui_url: str | None
    report: RunReport

    @property
    def folder(self) -> Path | None:
        """Folder of the outputs; `None` when there are none."""
        root = None if self.handle is None else self.handle.output_root
        return root if root is not None and root.is_dir() else None

    def files(self) -> list[MadeFile]:
        """Return the files in the run's folder, by path."""
        root = self.folder
        if root is None:
            return []
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return [MadeFile(path.relative_to(root).as_posix(), path.stat().st_size) for path in paths]

    def document(self) -> RunDocument:
        """Return the run as a JSON document."""
        from vibe_prefect.cli.display.documents import FileSize, HelpfulCommand, RunDocument, RunSummary, TaskRuns

        totals = self.report.totals
        folder, handle = self.folder, self.handle
        summary = self.result.get_summary() | {"skipped": self.result.count(ExecutionStatus.SKIPPED)}
        return RunDocument(
            simulated=self.simulated,
            summary=RunSummary.model_validate(summary),
            nodes={id: self._node(result) for id, result in self.result.node_results.items()},
            outputs=str(folder) if folder else None,
            files=[FileSize(path=file.path, bytes=file.bytes) for file in self.files()],
            run_name=handle and handle.name,
            run_id=handle and str(handle.flow_run_id),
            run_url=self.ui_url,
            task_runs=TaskRuns(expected=handle.task_runs, recorded=handle.recorded) if handle else None,
            tokens=totals.tokens,
            cost_usd=totals.cost_usd,
            next_steps=[HelpfulCommand(purpose=step.purpose, command=step.command) for step in next_steps(self.report)],
        )

    def _node(self, result: NodeResult) -> RunNode:
        from vibe_prefect.cli.display.documents import RunNode

        node = self.compiled.nodes[result.node_id]
        return RunNode(
            type=node.node.type.value,
            tool=node.tool,
            status=result.status.value,
            started_at=result.started_at,
            duration=result.duration,
            error=result.error,
            result=result.result,
            reused=result.reused,
            provenance=result.provenance,
        )


def run_line(handle: RunHandle) -> Text:
    """Return a line with Prefect's name and id of a run."""
    return fact_line("run", f"{one_line(handle.name)}  ({handle.flow_run_id})")


def server_line(server: str) -> Text:
    """Return a line with the server of a run, and where it comes from."""
    return fact_line("server", server)


def print_report(screen: Screen, report: EndedRun) -> None:
    """Print the result of a run."""
    screen.say(_verdict(report))
    for line in outcome_lines(report.report, screen.limit):
        screen.say(line)
    for line in attempt_lines(report.report):
        screen.say(line)
    for line in _outputs(report, screen.limit):
        screen.say(line)
    print_next_steps(screen, report.report)
    if report.handle is None:
        return
    hint, address = _look(report, report.handle)
    screen.say(hint, "dim")
    screen.say(f"  {address}")


def print_resume_hint(screen: Screen, command: str) -> None:
    """Print the command that resumes a run."""
    screen.say("to go on with what is left:", "dim")
    screen.say(f"  {command}")


def _verdict(report: EndedRun) -> Text:
    result, totals = report.result, report.report.totals
    total, skipped = len(result.node_results), result.count(ExecutionStatus.SKIPPED)
    mark = "simulated run " if report.simulated else ""
    failed, waits = result.status is ExecutionStatus.FAILED, result.status is ExecutionStatus.PENDING
    counts = counted(total, "node")
    if failed:
        counts = f"{result.count(ExecutionStatus.FAILED)} of {counts} failed"
    if waits and not failed:
        counts = f"{result.count(ExecutionStatus.COMPLETED)} of {counts} completed"
    counts += f", {skipped} skipped" if skipped else ""
    word = "failed" if failed else "waits for an answer" if waits else "completed"
    sign, colour = STATUS_STYLES[result.status].terminal
    headline = Text.assemble((f"{sign} {mark}{word}", f"bold {colour}"), f": {counts}")
    headline.append(f" in {seconds(result.total_duration)}")
    for judged in judgements(totals.qualities, {} if report.simulated else totals.remarks):
        headline.append(f"; {judged}")
    if spent := spending(totals):
        headline.append(f"; {spent}")
    return headline


def _outputs(report: EndedRun, width: int | None) -> Iterator[Text]:
    folder = report.folder
    if folder is None:
        return
    files = report.files()
    total = sum(file.bytes for file in files)
    yield fact_line("outputs", f"{short_path(folder)}  ({counted(len(files), 'file')}, {size(total)})")
    rows = [
        [Text(" " * LABEL + one_line(file.path)), Text(size(file.bytes), "dim", justify="right")]
        for file in files[:MAX_FILES]
    ]
    yield from columns(rows, width)
    if len(files) > MAX_FILES:
        yield Text(f"{' ' * LABEL}and {len(files) - MAX_FILES:,} more", "dim")


def short_path(folder: Path) -> str:
    """Return a path as the user would type it."""
    current_folder = Path.cwd()
    return one_line(str(folder.relative_to(current_folder) if folder.is_relative_to(current_folder) else folder))


def tool_options(files: Iterable[Path]) -> str:
    """Return the options that name files of tools, for a command that the user is shown."""
    return "".join(f" --tools {shlex.quote(short_path(file))}" for file in files)


def _look(report: EndedRun, handle: RunHandle) -> tuple[str, str]:
    """Return the label and the address of the run in Prefect's UI."""
    if report.ui_url is not None:
        return "in Prefect's UI:", report.ui_url
    from vibe_prefect.engine.server.ui_pages import coming_run_page

    address = coming_run_page(handle.flow_run_id)
    return "to see it in Prefect's UI, run `vibe-prefect server start`, then open", address
