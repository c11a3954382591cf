"""Lines of the live view: what stands in for a node that failed, how far a list is, and what waits for a person."""

from __future__ import annotations

import asyncio

from typing_extensions import override

from tests.plans import node, plan
from vibe_prefect import NodeResult, WorkflowNode, compile_plan, default_registry
from vibe_prefect.cli.display.board import Board
from vibe_prefect.cli.display.live import LiveView
from vibe_prefect.core.approval import Question
from vibe_prefect.run.offline import OfflineRun
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.testing import RecordingTool

WIDTH, HEIGHT = 120, 40


class WatchedBoard(Board):
    """A board that keeps the lines of a view whenever a node ends."""

    view: LiveView
    seen: str = ""

    @override
    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        super().node_finished(node, result)
        self.seen += shown(self.view)


def shown(view: LiveView) -> str:
    return "\n".join(line.plain.rstrip() for line in view.lines(WIDTH, HEIGHT)) + "\n"


def test_lists_and_fallbacks_are_seen_in_the_live_view() -> None:
    tools = default_registry()
    tools.register(RecordingTool("good", {"text": "Tea"}))
    tools.register(RecordingTool("bad", error="HTTP 503"))
    card = node("card", parameters={"tool": "bad"}, on_error={"value": {"text": "none"}})
    cards = node("cards", "composite", for_each="{{ ['a', 'b'] }}", children=[card])
    fine = node("fine", needs=["draft"], parameters={"tool": "bad"}, on_error={"use": "draft"})
    compiled = compile_plan(plan(node("draft", parameters={"tool": "good"}), fine, cards), tools=tools)
    board = WatchedBoard(len(compiled.nodes))
    board.view = LiveView(compiled, board)
    asyncio.run(OfflineRun(compiled, tools, RunOptions(), [board]).execute())
    last = shown(board.view)
    assert "failed; the output of 'draft' stands in" in last
    assert last.count("failed; a value of the plan stands in") == 2
    assert "1 of 2 nodes" in board.seen
    assert "of 2 nodes" not in last, "the list is done"


def test_a_node_that_waits_for_an_answer_says_so_until_it_is_asked_again() -> None:
    gate = node("gate", "validate")
    compiled = compile_plan(plan(gate), simulate="all")
    board = Board(1)
    view = LiveView(compiled, board)
    board.node_started(gate)
    board.node_waits(gate, Question("gate", "", "May it?", {}))
    assert "waits for an answer" in shown(view)
    board.node_started(gate)
    assert "waits for an answer" not in shown(view)
