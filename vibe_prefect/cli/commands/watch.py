"""`vibe-prefect watch`: follow a run in another process or on another machine."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.text import Text

from vibe_prefect.cli.commands.run import exit_code, find_server, print_header
from vibe_prefect.cli.display.board import Board
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.cli.display.live import LiveView, live
from vibe_prefect.cli.display.outcomes import print_next_steps
from vibe_prefect.cli.display.plain import PlainLines
from vibe_prefect.cli.display.summary import print_summary
from vibe_prefect.cli.exits import ExitCode, tell
from vibe_prefect.cli.process.environment import Server, ask
from vibe_prefect.core.progress import AddedNode, RunObserver
from vibe_prefect.core.retries import Retry
from vibe_prefect.plan.unfold import ListedNodes, UnfoldedPlan
from vibe_prefect.reporting.report import BEGUN
from vibe_prefect.results import FINISHED, ExecutionStatus

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

    from vibe_prefect.engine.past_run import PastRun
    from vibe_prefect.engine.records.storage import RecordStore
    from vibe_prefect.engine.runs.node_snapshots import NodeSnapshot
    from vibe_prefect.reporting.report import RunReport

POLL_SECONDS = 1.0
"""Seconds between two requests to the server; more where an answer takes long, as for thousands of nodes."""

MAX_SHARE = 0.5
"""Largest part of the time that requests may take."""

PATIENCE = 60.0
"""Seconds for which the server may be out of reach, as while it restarts."""

SETTLE_POLLS = 5
"""Number of requests to the server after the end: its record of the last nodes may come later."""


def watch(reference: str | None) -> int:
    """Show the progress of a run until it ends or is suspended; returns the run's exit code."""
    screen = out()
    server = find_server(err(), quiet=False)
    try:
        report = ask(server, _Watch(screen, server).follow(reference))
    except KeyboardInterrupt:
        tell("no longer watching; the run goes on")
        return ExitCode.INTERRUPTED
    report = replace(report, run_url=server.flow_run_url(report.run_id))
    print_summary(screen, report)
    print_next_steps(screen, report)
    return exit_code(report.status)


class _Watch:
    """Watch of a run, until it has ended."""

    def __init__(self, screen: Screen, server: Server) -> None:
        self._screen = screen
        self._server = server
        self._asked_in = 0.0

    async def follow(self, reference: str | None) -> RunReport:
        """Show the run until it ends.

        Raises:
            UnknownRunError: The server does not know it, or it ended without a plan.
        """
        from prefect.client.orchestration import get_client

        from vibe_prefect.engine.records.storage import open_store
        from vibe_prefect.engine.runs.load_report import load_report, load_run, wanted_run

        store = await open_store(None)
        async with get_client() as client:
            target = await wanted_run(client, reference, waiting=True)
            await self._await_begin(client, target, store)
            run = await load_run(client, str(target.id), store)
            print_header(self._screen, run.compiled, simulated=run.parameters.simulate)
            self._screen.say(Text.assemble(("run      ", "dim"), f"{one_line(run.name)}  ({run.id})"))
            await self._show(client, run)
        return await load_report(str(run.id))

    async def _await_begin(self, client: PrefectClient, run: PastRun, store: RecordStore) -> None:
        """Wait until a run has begun: from then on its plan stands among its parameters."""
        state = ""
        while run.waits or (not run.over and (await run.with_plan(store)).plan is None):
            if run.state != state:
                self._screen.say(f"waiting for {one_line(run.name)} to begin: it is {run.state}", "dim")
                state = run.state
            run = await self._next(client, run.id)

    async def _show(self, client: PrefectClient, run: PastRun) -> None:
        """Show the nodes until the run has ended and the server has its nodes on record."""
        from vibe_prefect.engine.runs.node_snapshots import observe_nodes
        from vibe_prefect.engine.runs.retry_log import RetryLog

        retries = RetryLog(client, run.id)
        board = Board(len(UnfoldedPlan(run.compiled).nodes))
        view = LiveView(run.compiled, board, run.parameters.concurrency) if self._screen.lively else None
        plain = [] if view else [PlainLines(self._screen, run.compiled)]
        feed = _Feed(run, board, plain)
        showing: AbstractContextManager[Any] = live(self._screen, view) if view else nullcontext()
        settling = 0
        with showing:
            while True:
                snapshots = await observe_nodes(client, run.id)
                feed.take(snapshots, await retries.new(snapshots))
                rests = run.over or run.suspended
                settling += rests
                if rests and (feed.settled or settling > SETTLE_POLLS):
                    return
                if view is not None:
                    view.note = "" if run.state == "Running" else f"it is {run.state}"
                run = await self._next(client, run.id)

    async def _next(self, client: PrefectClient, id: UUID) -> PastRun:
        """Wait a while and read the run again, also from a server that is out of reach for up to `PATIENCE`."""
        from vibe_prefect.engine.past_run import PastRun
        from vibe_prefect.engine.server.server_failures import WORTH_WAITING, classify

        await asyncio.sleep(max(POLL_SECONDS, self._asked_in * (1 / MAX_SHARE - 1)))
        end = time.monotonic() + PATIENCE
        while True:
            asked_at = time.monotonic()
            try:
                run = PastRun.of(await client.read_flow_run(id))
            except Exception as error:
                failure = classify(error)
                if failure is None or failure.kind not in WORTH_WAITING or time.monotonic() > end:
                    raise
                await asyncio.sleep(POLL_SECONDS)
                continue
            self._asked_in = time.monotonic() - asked_at
            return run


class _Feed:
    """Reports to observers the changes between two node snapshots."""

    def __init__(self, run: PastRun, board: Board, others: list[PlainLines]) -> None:
        self._nodes = dict(UnfoldedPlan(run.compiled).nodes)
        self._lists = ListedNodes(run.compiled)
        self._run = run
        self._board = board
        self._observers: list[RunObserver] = [board, *others]
        self._known: dict[str, ExecutionStatus] = {}
        if run.started is not None:
            board.note_begin((datetime.now(UTC) - run.started).total_seconds())

    @property
    def settled(self) -> bool:
        """Whether the server has the end of every node of the plan on record."""
        return len(self._known) == len(self._nodes) and all(status in FINISHED for status in self._known.values())

    def take(self, snapshots: Mapping[str, NodeSnapshot], retries: Iterable[tuple[NodeSnapshot, Retry]]) -> None:
        """Report the changes since the last snapshots, and the retries that came to be known meanwhile."""
        retries_of: defaultdict[str, list[Retry]] = defaultdict(list)
        for snapshot, retry in retries:
            retries_of[snapshot.id].append(retry)
        self._add(sorted(snapshots.keys() - self._nodes.keys()))
        for id in sorted(snapshots.keys() & self._nodes.keys(), key=lambda id: _moment(snapshots[id])):
            self._take(snapshots[id], retries_of[id])

    def _add(self, ids: Iterable[str]) -> None:
        """Report the nodes that run for the items of lists."""
        by_parent: defaultdict[str, list[AddedNode]] = defaultdict(list)
        for added in filter(None, map(self._lists.added, ids)):
            self._nodes[added.node.id] = self._run.compiled.nodes[added.template]._replace(node=added.node)
            by_parent[added.parent].append(added)
        for parent, nodes in by_parent.items():
            composite = self._nodes.get(parent) or self._nodes[nodes[0].node.id]
            self._report(lambda observer, node=composite.node, added=nodes: observer.nodes_added(node, added))

    def _take(self, snapshot: NodeSnapshot, retries: Iterable[Retry]) -> None:
        previous = self._known.get(snapshot.id, ExecutionStatus.PENDING)
        if previous in FINISHED:
            return
        self._known[snapshot.id] = snapshot.status
        was_executed = not snapshot.reused and snapshot.status in BEGUN
        if was_executed and previous is not ExecutionStatus.RUNNING:
            self._start(snapshot)
        for retry in retries:
            self._report(lambda observer, retry=retry: observer.node_retried(self._nodes[snapshot.id].node, retry))
        if snapshot.status in FINISHED:
            self._finish(snapshot)

    def _report(self, call: Callable[[RunObserver], object]) -> None:
        for observer in self._observers:
            call(observer)

    def _start(self, snapshot: NodeSnapshot) -> None:
        self._report(lambda observer: observer.node_started(self._nodes[snapshot.id].node))
        self._board.note_begun(snapshot.id, snapshot.seconds)

    def _finish(self, snapshot: NodeSnapshot) -> None:
        from vibe_prefect.engine.runs.load_report import node_result

        node, result = self._nodes[snapshot.id].node, node_result(snapshot)
        self._report(
            lambda observer: (observer.node_reused if snapshot.reused else observer.node_finished)(node, result)
        )


def _moment(snapshot: NodeSnapshot) -> tuple[float, str]:
    """Return a sort key that orders nodes by the time of their last change."""
    return (snapshot.started.timestamp() + snapshot.seconds if snapshot.started else float("inf"), snapshot.id)
