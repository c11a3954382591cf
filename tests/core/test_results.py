"""What came of a run: the contract's section 2, method by method."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from vibe_prefect import ExecutionResult, ExecutionStatus, NodeResult

PENDING, RUNNING = ExecutionStatus.PENDING, ExecutionStatus.RUNNING
COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


def result_of(*statuses: ExecutionStatus, durations: list[float] | None = None, **fields: Any) -> ExecutionResult:
    result = ExecutionResult("p", **fields)
    for index, status in enumerate(statuses):
        duration = durations[index] if durations else 0.0
        result.add_node_result(NodeResult(f"n{index}", status, duration=duration))
    return result


def test_statuses_are_the_contracts() -> None:
    assert {status.name: status.value for status in ExecutionStatus} == {
        "PENDING": "pending",
        "RUNNING": "running",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "SKIPPED": "skipped",
    }
    assert FAILED == "failed"
    assert f"{FAILED}" == "failed"


def test_a_node_result_has_the_contracts_defaults_and_order() -> None:
    short = NodeResult("a", COMPLETED)
    assert (short.result, short.error, short.duration) == (None, None, 0.0)
    assert datetime.fromisoformat(str(short.started_at)).tzinfo is not None
    full = NodeResult("a", FAILED, {"x": 1}, "no", 1.5)
    assert (full.node_id, full.status, full.result, full.error, full.duration) == ("a", FAILED, {"x": 1}, "no", 1.5)


def test_a_new_result_has_the_contracts_defaults() -> None:
    before = datetime.now(UTC)
    result = ExecutionResult("p")
    assert before <= datetime.fromisoformat(result.started_at) <= datetime.now(UTC)
    assert (result.plan_id, result.status, result.completed_at) == ("p", PENDING, None)
    assert (result.total_duration, result.parallel_efficiency) == (0.0, 0.0)
    assert (result.node_results, result.execution_groups) == ({}, [])
    assert (result.feedback_data, result.replan_suggestions) == ({}, [])


def test_results_do_not_share_their_containers() -> None:
    first = result_of(COMPLETED)
    first.execution_groups.append(["n0"])
    first.add_feedback("n0", {})
    first.suggest_replan({})
    second = ExecutionResult("q")
    assert (second.node_results, second.execution_groups) == ({}, [])
    assert (second.feedback_data, second.replan_suggestions) == ({}, [])


def test_a_node_result_is_stored_under_its_id() -> None:
    result = ExecutionResult("p")
    first, second = NodeResult("a", RUNNING), NodeResult("a", COMPLETED)
    result.add_node_result(first)
    assert result.node_results == {"a": first}
    result.add_node_result(second)
    assert result.node_results["a"] is second


@pytest.mark.parametrize(
    ("statuses", "complete"),
    [
        ([], True),
        ([COMPLETED], True),
        ([COMPLETED, FAILED, SKIPPED], True),
        ([COMPLETED, RUNNING], False),
        ([PENDING, FAILED], False),
    ],
)
def test_a_result_is_complete_when_every_recorded_node_has_finished(
    statuses: list[ExecutionStatus], complete: bool
) -> None:
    assert result_of(*statuses).is_complete() is complete


def test_nodes_are_counted_and_named_by_status() -> None:
    result = result_of(COMPLETED, FAILED, COMPLETED, SKIPPED)
    assert [result.count(status) for status in (COMPLETED, FAILED, SKIPPED, RUNNING)] == [2, 1, 1, 0]
    assert result.ids(COMPLETED) == result.ids("completed") == ("n0", "n2")
    assert result.ids("running") == ()


def test_the_summary_has_exactly_these_keys() -> None:
    result = result_of(COMPLETED, COMPLETED, FAILED, SKIPPED, status=FAILED, started_at="2026-01-01T00:00:00+00:00")
    result.execution_groups = [["n0", "n1"], ["n2"], ["n3"]]
    result.completed_at = "2026-01-01T00:00:02+00:00"
    result.total_duration = 2.0
    result.parallel_efficiency = 0.25
    summary = result.get_summary()
    assert list(summary.items()) == [
        ("plan_id", "p"),
        ("status", "failed"),
        ("total_nodes", 4),
        ("completed", 2),
        ("failed", 1),
        ("total_duration", 2.0),
        ("started_at", "2026-01-01T00:00:00+00:00"),
        ("completed_at", "2026-01-01T00:00:02+00:00"),
        ("parallel_efficiency", 0.25),
        ("execution_groups", 3),
    ]
    assert json.loads(json.dumps(summary)) == summary
    assert type(summary["status"]) is str


def test_the_summary_of_an_empty_run_counts_nothing() -> None:
    summary = ExecutionResult("p").get_summary()
    assert (summary["status"], summary["total_nodes"], summary["execution_groups"]) == ("pending", 0, 0)


@pytest.mark.parametrize(
    ("durations", "total", "efficiency"),
    [
        ([], 0.0, 0.0),
        ([], 5.0, 0.0),
        ([0.0, 0.0], 5.0, 0.0),
        ([0.0], 0.0, 0.0),
        ([1.0], 1.0, 0.0),
        ([1.0, 1.0], 1.0, 0.5),
        ([1.0, 1.0, 1.0, 1.0], 1.0, 0.75),
        ([1.0, 3.0], 3.0, 0.25),
        ([1.0], 4.0, 0.0),
        ([2.0], 0.0, 1.0),
    ],
)
def test_efficiency_is_the_part_of_the_nodes_time_that_was_saved(
    durations: list[float], total: float, efficiency: float
) -> None:
    result = result_of(*[COMPLETED] * len(durations), durations=durations, total_duration=total)
    assert result.calculate_parallel_efficiency() == pytest.approx(efficiency)  # pyright: ignore[reportUnknownMemberType]
    assert result.parallel_efficiency == 0.0


def test_the_time_of_failed_nodes_counts_as_well() -> None:
    assert result_of(FAILED, COMPLETED, durations=[1, 1], total_duration=1).calculate_parallel_efficiency() == 0.5


def test_feedback_is_stored_and_replaced_by_id() -> None:
    result = ExecutionResult("p")
    result.add_feedback("a", {"execution_quality": 0.1})
    result.add_feedback("a", {"execution_quality": 0.8})
    assert result.feedback_data == {"a": {"execution_quality": 0.8}}


def test_a_suggestion_gets_the_present_time() -> None:
    result = ExecutionResult("p")
    suggestion = {"node_id": "a", "reason": "low_quality_output"}
    before = datetime.now(UTC)
    result.suggest_replan(suggestion)
    (kept,) = result.replan_suggestions
    assert before <= datetime.fromisoformat(kept.pop("timestamp")) <= datetime.now(UTC)
    assert kept == suggestion == {"node_id": "a", "reason": "low_quality_output"}


def test_a_suggestion_may_bring_its_own_time() -> None:
    result = ExecutionResult("p")
    result.suggest_replan({"timestamp": "then", "node_id": "a"})
    result.suggest_replan({"node_id": "b"})
    assert [one["node_id"] for one in result.replan_suggestions] == ["a", "b"]
    assert result.replan_suggestions[0]["timestamp"] == "then"


@pytest.mark.parametrize(
    ("statuses", "suggestions", "replan"),
    [
        ([], 0, False),
        ([FAILED], 0, False),
        ([FAILED, SKIPPED, SKIPPED], 0, False),
        ([FAILED, FAILED], 0, True),
        ([COMPLETED], 1, True),
        ([], 1, True),
    ],
)
def test_a_second_failure_or_any_suggestion_asks_for_a_replan(
    statuses: list[ExecutionStatus], suggestions: int, replan: bool
) -> None:
    result = result_of(*statuses)
    for _ in range(suggestions):
        result.suggest_replan({})
    assert result.should_replan() is replan


def test_a_result_pickles() -> None:
    result = result_of(COMPLETED, FAILED, durations=[1, 2])
    result.suggest_replan({"node_id": "n1"})
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301
