"""Progress events: the contract's section 7, from what the engine reports."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeResult,
    ProgressEvent,
    ProgressEventType,
    RunObserver,
    WorkflowPlan,
    build_graph,
)
from vibe_prefect.core.progress import ProgressReporter

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED

FORK = plan(node("a"), node("b", needs=["a"]), node("c", needs=["a"]), node("d", needs=["b", "c"]), id="fork")
"""Groups: a; b, c; d."""


class Run:
    """A run as the engine would report it, and the events that came of it."""

    def __init__(self, subject: WorkflowPlan = FORK, reporter: ProgressReporter | None = None) -> None:
        self.events: list[ProgressEvent] = []
        self.graph = build_graph(subject)
        self.plan = subject
        self.reporter = reporter or ProgressReporter(self.events.append)
        self.result = ExecutionResult(subject.id)

    def begin(self, reused: int = 0) -> Run:
        self.reporter.run_started(self.plan, self.graph.groups, len(self.graph.nodes), reused)
        return self

    def start(self, *ids: str) -> Run:
        for id in ids:
            self.reporter.node_started(self.graph.nodes[id].node)
        return self

    def finish(self, *ids: str, status: ExecutionStatus = COMPLETED, **fields: Any) -> Run:
        for id in ids:
            result = NodeResult(id, status, **fields)
            self.result.add_node_result(result)
            self.reporter.node_finished(self.graph.nodes[id].node, result)
        return self

    def end(self) -> Run:
        self.result.status = FAILED if self.result.ids(FAILED) else COMPLETED
        self.reporter.run_finished(self.result)
        return self

    def lines(self) -> list[str]:
        """The events as `type` and, where there is one, the node or the group's nodes."""
        return [
            f"{event.event_type} {event.node_id or ','.join(event.metadata.get('group_nodes', []))}".strip()
            for event in self.events
        ]

    def of(self, event_type: ProgressEventType) -> list[ProgressEvent]:
        return [event for event in self.events if event.event_type is event_type]


def whole_run() -> Run:
    return Run().begin().start("a").finish("a").start("b", "c").finish("c", "b").start("d").finish("d").end()


def test_event_types_are_the_contracts() -> None:
    assert {kind.name: kind.value for kind in ProgressEventType} == {
        "WORKFLOW_STARTED": "workflow_started",
        "WORKFLOW_COMPLETED": "workflow_completed",
        "NODE_STARTED": "node_started",
        "NODE_COMPLETED": "node_completed",
        "NODE_FAILED": "node_failed",
        "GROUP_STARTED": "group_started",
        "GROUP_COMPLETED": "group_completed",
    }


def test_an_event_has_the_contracts_defaults() -> None:
    before = datetime.now(UTC)
    event = ProgressEvent(ProgressEventType.NODE_STARTED)
    assert (event.node_id, event.progress_percent, event.message, event.metadata) == (None, 0.0, "", {})
    assert before <= datetime.fromisoformat(event.timestamp) <= datetime.now(UTC)


def test_the_reporter_is_an_observer_of_runs() -> None:
    observer: RunObserver = ProgressReporter(print)
    assert observer


def test_events_come_in_order_with_the_groups_around_their_nodes() -> None:
    assert whole_run().lines() == [
        "workflow_started",
        "group_started a",
        "node_started a",
        "node_completed a",
        "group_completed a",
        "group_started b,c",
        "node_started b",
        "node_started c",
        "node_completed c",
        "node_completed b",
        "group_completed b,c",
        "group_started d",
        "node_started d",
        "node_completed d",
        "group_completed d",
        "workflow_completed",
    ]


def test_percent_counts_finished_nodes_and_ends_at_100() -> None:
    assert [event.progress_percent for event in whole_run().events] == [
        *(0, 0, 0),
        *(25, 25, 25, 25, 25),
        50,
        *(75, 75, 75, 75),
        *(100, 100, 100),
    ]


def test_percent_never_goes_back_whatever_becomes_of_the_nodes() -> None:
    run = Run().begin().start("a").finish("a").start("b", "c").finish("b", status=FAILED, error="no")
    run.finish("c").finish("d", status=SKIPPED).end()
    percents = [event.progress_percent for event in run.events]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_a_plan_without_nodes_starts_and_completes() -> None:
    run = Run(plan(id="empty")).begin().end()
    assert run.lines() == ["workflow_started", "workflow_completed"]
    assert [event.progress_percent for event in run.events] == [0, 100]


def test_messages_are_the_contracts() -> None:
    run = Run(plan(node("a"), node("b"), id="two")).begin().start("a", "b").finish("a")
    run.finish("b", status=FAILED, error="the line is dead").end()
    shown = [event.message for event in run.events if "group" not in event.event_type]
    assert shown == [
        "Starting workflow: two",
        "Starting: do a",
        "Starting: do b",
        "Completed: do a",
        "Failed: do b - the line is dead",
        "Workflow failed: two",
    ]


def test_every_group_message_says_which_group_it_is() -> None:
    run = whole_run()
    assert [event.message for event in run.of(ProgressEventType.GROUP_STARTED)][1] == "Starting group 2 of 3 (2 nodes)"
    assert [event.message for event in run.of(ProgressEventType.GROUP_COMPLETED)][
        1
    ] == "Completed group 2 of 3 (2 nodes)"


def test_a_run_without_failures_completes() -> None:
    assert whole_run().events[-1].message == "Workflow completed: fork"


def test_a_resumed_run_says_how_many_nodes_are_complete() -> None:
    assert Run().begin(reused=3).events[0].message == "Resuming workflow: fork (3 nodes already complete)"


def test_a_group_event_names_the_groups_nodes() -> None:
    run = whole_run()
    for kind in (ProgressEventType.GROUP_STARTED, ProgressEventType.GROUP_COMPLETED):
        assert [event.metadata for event in run.of(kind)] == [
            {"group_size": 1, "group_nodes": ["a"]},
            {"group_size": 2, "group_nodes": ["b", "c"]},
            {"group_size": 1, "group_nodes": ["d"]},
        ]
        assert [event.node_id for event in run.of(kind)] == [None, None, None]


def test_a_groups_event_is_not_sent_twice() -> None:
    lines = whole_run().lines()
    assert len(lines) == len(set(lines))


def test_a_group_completes_only_when_its_skipped_nodes_are_decided_too() -> None:
    run = Run(plan(node("a"), node("b"))).begin().start("a").finish("a")
    assert run.of(ProgressEventType.GROUP_COMPLETED) == []
    run.finish("b", status=SKIPPED)
    assert [event.metadata["group_nodes"] for event in run.of(ProgressEventType.GROUP_COMPLETED)] == [["a", "b"]]


def test_a_group_whose_nodes_were_all_skipped_is_not_mentioned() -> None:
    run = Run().begin().start("a").finish("a", status=FAILED, error="no").finish("b", "c", "d", status=SKIPPED).end()
    assert run.lines() == [
        "workflow_started",
        "group_started a",
        "node_started a",
        "node_failed a",
        "group_completed a",
        "workflow_completed",
    ]


def test_groups_may_overlap_since_there_are_no_barriers() -> None:
    slow_and_chain = plan(node("slow"), node("quick"), node("next", needs=["quick"]))
    run = Run(slow_and_chain).begin().start("slow", "quick").finish("quick").start("next").finish("next", "slow").end()
    assert run.lines() == [
        "workflow_started",
        "group_started slow,quick",
        "node_started slow",
        "node_started quick",
        "node_completed quick",
        "group_started next",
        "node_started next",
        "node_completed next",
        "group_completed next",
        "node_completed slow",
        "group_completed slow,quick",
        "workflow_completed",
    ]


@pytest.mark.parametrize(
    ("result", "preview"),
    [
        ("x" * 99, "x" * 99),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 100),
        ({"result": "y" * 200}, str({"result": "y" * 200})[:100]),
        (None, "None"),
        (7, "7"),
    ],
)
def test_a_completed_node_shows_its_duration_and_the_first_100_characters(result: Any, preview: str) -> None:
    run = Run(plan(node("a"))).begin().start("a").finish("a", result=result, duration=1.5)
    (event,) = run.of(ProgressEventType.NODE_COMPLETED)
    assert event.metadata == {"duration": 1.5, "result_preview": preview}
    assert event.node_id == "a"


def test_a_failed_node_shows_its_duration_and_error() -> None:
    run = Run(plan(node("a"))).begin().start("a").finish("a", status=FAILED, error="no", duration=1.5)
    (event,) = run.of(ProgressEventType.NODE_FAILED)
    assert (event.node_id, event.metadata) == ("a", {"duration": 1.5, "error": "no"})


def test_a_callback_that_raises_is_logged_and_hurts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[ProgressEventType] = []

    def broken(event: ProgressEvent) -> None:
        seen.append(event.event_type)
        raise ValueError("broken callback")

    with caplog.at_level(logging.ERROR, logger="vibe_prefect.core.progress"):
        Run(plan(node("a")), ProgressReporter(broken)).begin().start("a").finish("a").end()
    assert len(seen) == 6
    assert len(caplog.records) == 6
    assert caplog.records[0].getMessage() == "The progress callback raised at workflow_started; the run goes on"
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is ValueError


def test_one_reporter_can_follow_one_run_after_another() -> None:
    first = whole_run()
    events = [(event.event_type, event.node_id, event.progress_percent) for event in first.events]
    first.events.clear()
    first.begin().start("a").finish("a").start("b", "c").finish("c", "b").start("d").finish("d").end()
    assert [(event.event_type, event.node_id, event.progress_percent) for event in first.events] == events
