"""`vibe-prefect watch`: follow a run that goes on elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.text import Text

from vibe_prefect.cli.board import Board
from vibe_prefect.cli.console import Screen, err, out
from vibe_prefect.cli.environment import Server, ask
from vibe_prefect.cli.exits import ExitCode, tell
from vibe_prefect.cli.live import LiveView, live
from vibe_prefect.cli.plain import PlainLines
from vibe_prefect.cli.run import find_server, print_header
from vibe_prefect.cli.summary import print_summary
from vibe_prefect.cli.text import one_line
from vibe_prefect.progress import RunObserver
from vibe_prefect.results import FINISHED, ExecutionStatus

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

    from vibe_prefect.engine.account import SeenRun
    from vibe_prefect.engine.observed import NodeSight
    from vibe_prefect.engine.storage import RecordStore
    from vibe_prefect.reporting.report import RunReport

POLL_SECONDS = 1.0
"""How often the server is asked; less often where an answer takes long, as for thousands of nodes."""

MAX_SHARE = 0.5
"""The part of the time that asking may take."""

PATIENCE = 60.0
"""Seconds for which the server may be out of reach, as while it restarts."""

SETTLE_POLLS = 5
"""How often the server is asked again after the end: its record of the last nodes may come later."""


def watch(reference: str | None) -> int:
    """Show how a run goes on until it ends; returns the run's exit code."""
    screen = out()
    server = find_server(err(), quiet=False)
    try:
        report = ask(server, _Watch(screen, server).follow(reference))
    except KeyboardInterrupt:
        tell("no longer watching; the run goes on")
        return ExitCode.INTERRUPTED
    report = replace(report, run_url=server.flow_run_url(report.run_id))
    print_summary(screen, report)
    if report.resume_command is not None:
        screen.say("to go on with what is left:", "dim")
        screen.say(f"  {one_line(report.resume_command)}")
    return ExitCode.COMPLETED if report.status is ExecutionStatus.COMPLETED else ExitCode.FAILED


class _Watch:
    """One run, from when it is found until it has ended."""

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

        from vibe_prefect.engine.account import account_of, see_run, wanted_run
        from vibe_prefect.engine.storage import open_store

        store = await open_store(None)
        async with get_client() as client:
            found = await wanted_run(client, reference)
            begun = await self._begun(client, found, store)
            seen = await see_run(client, begun, store)
            self._say_found(seen)
            await self._show(client, seen)
        return await account_of(str(found.id))

    async def _begun(self, client: PrefectClient, flow_run: FlowRun, store: RecordStore) -> FlowRun:
        """Return the run once it has begun, which is when its plan stands among its parameters."""
        from vibe_prefect.engine.plan_store import recorded_plan

        told = ""
        while _waits(flow_run) or (not _is_over(flow_run) and await recorded_plan(flow_run, store) is None):
            state = flow_run.state_name or "Unknown"
            if state != told:
                self._screen.say(f"waiting for {one_line(flow_run.name)} to begin: it is {state}", "dim")
                told = state
            flow_run = await self._next(client, flow_run.id)
        return flow_run

    def _say_found(self, seen: SeenRun) -> None:
        name, id = seen.flow_run.name, seen.flow_run.id
        print_header(self._screen, seen.compiled, simulated=bool(seen.flow_run.parameters.get("simulate")))
        self._screen.say(Text.assemble(("run      ", "dim"), f"{one_line(name)}  ({id})"))

    async def _show(self, client: PrefectClient, seen: SeenRun) -> None:
        """Show the nodes until the run has ended and the server has its nodes on record."""
        from vibe_prefect.engine.observed import see_nodes

        board = Board(len(seen.compiled.nodes))
        slots: Any = seen.flow_run.parameters.get("concurrency")
        view = LiveView(seen.compiled, board, slots) if self._screen.lively else None
        plain = [] if view else [PlainLines(self._screen, seen.compiled)]
        feed = _Feed(seen, board, plain)
        showing: AbstractContextManager[Any] = live(self._screen, view) if view else nullcontext()
        flow_run, settling = seen.flow_run, 0
        with showing:
            while True:
                over = _is_over(flow_run)
                feed.take(await see_nodes(client, flow_run.id))
                settling += over
                if over and (feed.settled or settling > SETTLE_POLLS):
                    return
                if view is not None:
                    view.note = "" if flow_run.state_name == "Running" else f"it is {flow_run.state_name}"
                flow_run = await self._next(client, flow_run.id)

    async def _next(self, client: PrefectClient, id: UUID) -> FlowRun:
        """Return the run as it is after a while; a server that is away meanwhile is waited for."""
        from vibe_prefect.engine.server_failures import WORTH_WAITING, classify

        await asyncio.sleep(max(POLL_SECONDS, self._asked_in * (1 / MAX_SHARE - 1)))
        end = time.monotonic() + PATIENCE
        while True:
            begun = time.monotonic()
            try:
                flow_run = await client.read_flow_run(id)
            except Exception as error:
                failure = classify(error)
                if failure is None or failure.kind not in WORTH_WAITING or time.monotonic() > end:
                    raise
                await asyncio.sleep(POLL_SECONDS)
                continue
            self._asked_in = time.monotonic() - begun
            return flow_run


class _Feed:
    """Tells observers what has changed between two looks at the server."""

    def __init__(self, seen: SeenRun, board: Board, others: list[PlainLines]) -> None:
        self._nodes = seen.compiled.nodes
        self._board = board
        self._observers: list[RunObserver] = [board, *others]
        self._known: dict[str, ExecutionStatus] = {}
        begun = seen.flow_run.start_time
        if begun is not None:
            board.note_begin((datetime.now(UTC) - begun).total_seconds())

    @property
    def settled(self) -> bool:
        """Whether the server has the end of every node of the plan on record."""
        return len(self._known) == len(self._nodes) and all(status in FINISHED for status in self._known.values())

    def take(self, sights: Mapping[str, NodeSight]) -> None:
        """Take in what the server knows now."""
        for id in sorted(sights.keys() & self._nodes.keys(), key=lambda id: _moment(sights[id])):
            sight = sights[id]
            known = self._known.get(id, ExecutionStatus.PENDING)
            if sight.status is known or known in FINISHED:
                continue
            self._known[id] = sight.status
            if sight.status is ExecutionStatus.RUNNING:
                self._start(sight)
            elif sight.status in FINISHED:
                self._finish(sight, begun=known is ExecutionStatus.RUNNING)

    def _start(self, sight: NodeSight) -> None:
        for observer in self._observers:
            observer.node_started(self._nodes[sight.id].node)
        self._board.note_begun(sight.id, sight.seconds)

    def _finish(self, sight: NodeSight, *, begun: bool) -> None:
        from vibe_prefect.engine.account import node_result

        if not begun and not sight.reused and sight.status is not ExecutionStatus.SKIPPED:
            self._start(sight)
        node, result = self._nodes[sight.id].node, node_result(sight)
        for observer in self._observers:
            (observer.node_reused if sight.reused else observer.node_finished)(node, result)


def _moment(sight: NodeSight) -> tuple[float, str]:
    """Return what sorts nodes by when they were last heard of."""
    return (sight.started.timestamp() + sight.seconds if sight.started else float("inf"), sight.id)


def _is_over(flow_run: FlowRun) -> bool:
    return flow_run.state is not None and flow_run.state.is_final()


def _waits(flow_run: FlowRun) -> bool:
    return flow_run.state is None or flow_run.state.is_scheduled() or flow_run.state.is_pending()
