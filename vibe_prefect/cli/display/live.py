"""Live view of a run: a tree that is redrawn until the run ends.

A plan that fits on the terminal is shown whole. Of a larger one, what failed and what is running comes first, and the
rest is counted.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import islice

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from vibe_prefect.cli.display.board import Board
from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.display.lines import SEPARATOR, brief, clock, columns, counted, one_line, rough, seconds
from vibe_prefect.cli.display.tree import guides, guides_of, work
from vibe_prefect.core.fallback import fallback_of
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.reporting.report import RAN
from vibe_prefect.reporting.times.eta import NodeTime, seconds_left
from vibe_prefect.results import ExecutionStatus

REFRESH_PER_SECOND = 10
RECKON_SECONDS = 1.0
"""Seconds between two estimates of the time left; more for a plan that takes long to estimate."""

FOOT_LINES = 3
"""Lines below the nodes, and a line that the terminal keeps for itself."""

ECHO = "^C^C "
"""Text that the terminal itself writes behind the last line at Ctrl-C: wrapped, it would shift the view by a line."""

REMARK_INDENT = " " * 6
"""Space before a remark that stands below its node."""

STARTING = "Prefect starts the run ..."
RECORDING = "Prefect records it ..."

MAX_FAILED_PART = 0.5
"""Largest part of a too small view that failed nodes may take: running nodes must be seen too."""

_ID_STYLES = {
    ExecutionStatus.PENDING: "dim",
    ExecutionStatus.RUNNING: "bold",
    ExecutionStatus.FAILED: "bold red",
    ExecutionStatus.SKIPPED: "dim",
}
_REST_WORDS = {
    ExecutionStatus.FAILED: "more failed",
    ExecutionStatus.RUNNING: "more running",
    ExecutionStatus.COMPLETED: "completed",
    ExecutionStatus.SKIPPED: "skipped",
    ExecutionStatus.PENDING: "waiting",
}


class LiveView:
    """View of a board on a terminal."""

    def __init__(self, compiled: CompiledPlan, board: Board, slots: int | None = None) -> None:
        """Make a view.

        Args:
            compiled: The plan.
            board: State of the run.
            slots: Number of nodes that may run at once.
        """
        self._compiled = compiled
        self._board = board
        self._nodes = dict(compiled.nodes)
        self._lists = tuple(id for id, place in compiled.graph.nodes.items() if place.gathers)
        self._guides = list(guides(compiled.graph))
        self._unfolded = 0
        self._spinner = Spinner("dots", style="blue")
        self._bar = ProgressBar(total=max(1, board.total), width=24, complete_style="green")
        self._slots = slots
        self._left: float | None = None
        self._reckoned = float("-inf")
        self._pause = RECKON_SECONDS
        self.interrupted = False
        """Whether nothing is at work any more, although nodes have not ended."""
        self.note = ""
        """Activity of the run apart from its nodes."""
        self._shown: Live | None = None

    def show(self, console: Console) -> None:
        """Put the view on the terminal, below what stands there."""
        self._shown = Live(
            self, console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True, redirect_stderr=True
        )
        self._shown.start(refresh=True)

    def hide(self) -> None:
        """Take the view off the terminal."""
        if self._shown is not None:
            self._shown.stop()
        self._shown = None

    @contextmanager
    def stepped_aside(self) -> Generator[None]:
        """Keep the view off the terminal until the block ends.

        Another `Live` comes afterwards: the same one would begin where its last view did, over what was printed since.
        """
        if self._shown is None:
            yield
            return
        console = self._shown.console
        self.hide()
        try:
            yield
        finally:
            self.show(console)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the nodes and, below them, the progress."""
        width, height = options.max_width, options.height or console.height
        with self._board.lock:
            lines, foot = self.lines(width, height), self._foot(width)
        yield Group(*lines, Text(), foot)

    def lines(self, width: int, height: int) -> list[Text]:
        """Return the lines of the nodes, as they stand.

        Args:
            width: Columns of the terminal.
            height: Lines of the terminal.
        """
        room = max(1, height - FOOT_LINES)
        with self._board.lock:
            self._unfold()
            if len(self._guides) <= room:
                return _laid_out([self._row(id, guide) for id, guide in self._guides], width, room)
            ids = self._urgent(room - 1)
            return [*columns([self._row(id, "") for id in ids], width), self._rest(ids)]

    @property
    def begun(self) -> bool:
        """Whether there is anything to see."""
        return self._board.begun

    def _unfold(self) -> None:
        """Put the nodes of lists that have come to be known in the place of those that the plan has for each item."""
        added = self._board.added
        if (count := sum(map(len, added.values()))) == self._unfolded:
            return
        self._unfolded = count
        for below in added.values():
            self._nodes |= {item.node.id: self._compiled.nodes[item.template] for item in below}

        def children_of(id: str) -> Sequence[str]:
            if id in added:
                return [item.node.id for item in added[id]]
            return self._compiled.graph.nodes[id].children if id in self._compiled.graph.nodes else ()

        self._guides = list(guides_of(self._compiled.graph, children_of))

    def _urgent(self, room: int) -> list[str]:
        """Return the newest failed nodes, then those running longest, then those that ended last."""
        board = self._board
        running = list(board.running)
        for_failed = max(int(room * MAX_FAILED_PART), room - len(running))
        failed = [result.node_id for result in board.failed[-for_failed:]]
        newest = islice(reversed(board.finished.values()), room)
        ended = [result.node_id for result in newest if result.status is not ExecutionStatus.FAILED]
        return [*failed, *running, *ended][:room]

    def _rest(self, shown_ids: list[str]) -> Text:
        """Count the nodes that found no room."""
        counts = {status: self._board.count(status) for status in _REST_WORDS}
        counts[ExecutionStatus.RUNNING] = len(self._board.running)
        counts[ExecutionStatus.PENDING] = self._board.total - sum(counts.values())
        for id in shown_ids:
            counts[self._board.status(id)] -= 1
        text = ", ".join(f"{count:,} {_REST_WORDS[status]}" for status, count in counts.items() if count)
        return Text(f"  and {text}" if text else "", "dim", no_wrap=True, overflow="ellipsis")

    def _row(self, id: str, guide: str) -> list[Text]:
        status = self._board.status(id)
        return [
            Text.assemble(self._symbol(status), " ", (guide, "dim"), (id, _ID_STYLES.get(status, ""))),
            Text(work(self._nodes[id]), "dim" if status in _ID_STYLES else "cyan"),
            Text(self._time(id), "dim", justify="right"),
            self._remark(id),
        ]

    def _symbol(self, status: ExecutionStatus) -> Text:
        if status is ExecutionStatus.RUNNING and not self.interrupted:
            frame = self._spinner.render(time.monotonic())
            return frame if isinstance(frame, Text) else Text("●", "blue")
        return Text(*STATUS_STYLES[status].terminal)

    def _time(self, id: str) -> str:
        board = self._board
        if id in board.running:
            elapsed = clock(time.monotonic() - board.running[id])
            expected = self._nodes[id].node.estimated_duration
            return elapsed if expected is None else f"{elapsed} of {rough(expected)}"
        result = board.finished.get(id)
        if result is None or result.status not in RAN:
            return ""
        return seconds(max(result.duration, board.took.get(id, 0.0)))

    def _remark(self, id: str) -> Text:
        result = self._board.finished.get(id)
        if result is None:
            return self._activity(id)
        if result.status is ExecutionStatus.COMPLETED:
            fallback = fallback_of(result.result)
            return Text("" if fallback is None else f"failed; {one_line(fallback.origin)} stands in", "yellow")
        if result.status is ExecutionStatus.SKIPPED:
            return Text("skipped", "yellow")
        return Text(brief(result.error or "failed"), "red")

    def _activity(self, id: str) -> Text:
        """Return what is known about a node that has not ended: its question, its items, its retry, its progress."""
        if id in self._board.waiting:
            return Text("waits for an answer", "yellow")
        if below := self._board.added.get(id):
            done = sum(item.node.id in self._board.finished for item in below)
            return Text(f"{done:,} of {counted(len(below), 'node')}", "dim")
        progress = one_line(self._board.told.get(id, ""))
        if id not in self._board.retries:
            return Text(progress, "dim")
        retry, begin = self._board.retries[id]
        return Text("; ".join(filter(None, (progress, brief(retry.text(begin - time.monotonic()))))), "yellow")

    def _foot(self, width: int) -> Table:
        board = self._board
        self._bar.update(len(board.finished))
        parts = [f"{len(board.finished):,} of {counted(board.total, 'node')}"]
        parts += [self.note] if self.note else self._progress()
        text = Text("  ".join(parts), no_wrap=True, overflow="ellipsis")
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.width = max(1, width - len(ECHO))
        grid.add_column(width=24)
        grid.add_column(ratio=1)
        grid.add_row(self._bar, text)
        return grid

    def _progress(self) -> list[str]:
        board = self._board
        failed, skipped = board.count(ExecutionStatus.FAILED), board.count(ExecutionStatus.SKIPPED)
        counts = ((len(board.running), "running"), (failed, "failed"), (skipped, "skipped"))
        parts = [f"{count:,} {word}" for count, word in counts if count]
        if not board.begun:
            return [STARTING]
        return [*parts, *([RECORDING] if board.ended else self._times())]

    def _times(self) -> list[str]:
        """Return the time that the run has taken, and an estimate of the time left."""
        now = time.monotonic()
        if now - self._reckoned >= self._pause and not self._lists:  # a list may become any number of nodes
            times = {id: self._node_time(id) for id in self._compiled.nodes}
            self._left = seconds_left(self._compiled.graph, times, self._slots, self._board.elapsed)
            self._reckoned = time.monotonic()
            self._pause = max(RECKON_SECONDS, 10 * (self._reckoned - now))
        remaining = self._left - (now - self._reckoned) if self._left is not None else None
        pauses = [begin - now for _, begin in self._board.retries.values()]
        remaining = None if remaining is None else max([remaining, *pauses])
        return [clock(self._board.elapsed), *([f"about {rough(remaining)} left"] if remaining is not None else [])]

    def _node_time(self, id: str) -> NodeTime:
        board, node = self._board, self._compiled.nodes[id].node
        spent = None
        if id in board.running:
            spent = time.monotonic() - board.running[id]
        elif id in board.finished and id not in board.reused:
            spent = board.finished[id].duration
        return NodeTime(node.type, board.status(id), node.estimated_duration, spent)


def _laid_out(rows: list[list[Text]], width: int, room: int) -> list[Text]:
    """Return the lines of rows whose last cells, the remarks, go below where there is no room beside and some below."""
    lines: list[Text] = []
    beside = columns([row[:-1] for row in rows], width)
    remarks_begin = max(line.cell_len for line in beside) + len(SEPARATOR)
    for line, row in zip(beside, rows, strict=True):
        remark = row[-1].copy()
        lines.append(line)
        if remarks_begin + remark.cell_len <= width:
            line.append(" " * (remarks_begin - line.cell_len if remark else 0))
            line.append_text(remark)
        elif remark:
            remark.truncate(width - len(REMARK_INDENT), overflow="ellipsis")
            lines.append(Text(REMARK_INDENT) + remark)
    return lines if len(lines) <= room else columns(rows, width)


@contextmanager
def live(screen: Screen, view: LiveView) -> Generator[None]:
    """Show the view until the block ends. Nothing of it stays, unless the block is interrupted: then the nodes do."""
    try:
        view.show(screen.console)
        try:
            yield
        finally:
            view.hide()
    except BaseException:
        view.interrupted = True
        for line in view.lines(screen.console.width, screen.console.height) if view.begun else ():
            screen.say(line)
        raise
