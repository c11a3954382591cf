"""What is learned about each node: the contract's section 6, as tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from vibe_prefect import ExecutionStatus, NodeResult
from vibe_prefect.core.feedback import (
    Failure,
    ResourceUsage,
    efficiency,
    failure_feedback,
    is_replannable,
    quality,
    replan_suggestion,
    success_feedback,
    suggested_changes,
)

LONG = "a result of more than twenty characters"
USAGE = ResourceUsage(cpu_time=0.25, memory_usage=1024, scope="thread")


def feedback_on(result: Any, duration: float = 0.0, estimated: float | None = None) -> dict[str, Any]:
    outcome = NodeResult("a", ExecutionStatus.COMPLETED, result=result, duration=duration)
    return success_feedback(outcome, estimated, USAGE)


def feedback_on_failure(failure: Failure, duration: float = 0.0, estimated: float | None = None) -> dict[str, Any]:
    outcome = NodeResult("a", ExecutionStatus.FAILED, error=failure.message, duration=duration)
    return failure_feedback(outcome, failure, estimated, USAGE)


def about(value: float) -> Any:
    return pytest.approx(value)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize(
    ("result", "score"),
    [
        (None, 0.0),
        ("", 0.0),
        (0, 0.0),
        (False, 0.0),
        ([], 0.0),
        ("text", 0.7),
        (1, 0.7),
        ([0], 0.7),
        ({}, 0.5),
        ({"result": None}, 0.5),
        ({"result": ""}, 0.5),
        ({"result": "0123456789"}, 0.5),
        ({"result": "0123456789-"}, 0.8),
        ({"result": {"text": "hi"}}, 0.8),
        ({"result": 12345678901}, 0.8),
        ({"text": LONG}, 0.5),
        ({"error": "e"}, 0.1),
        ({"failed": True}, 0.1),
        ({"error": "", "failed": False}, 0.5),
        ({"result": LONG, "error": "e"}, 0.4),
        ({"result": LONG, "failed": 1}, 0.4),
        ({"result": LONG, "error": "e", "failed": True}, 0.4),
    ],
    ids=str,
)
def test_quality(result: Any, score: float) -> None:
    assert quality(result) == about(score)
    assert feedback_on(result)["execution_quality"] == about(score)


@pytest.mark.parametrize(
    ("estimated", "actual", "expected"),
    [
        (None, 0.0, 1.0),
        (None, 100.0, 1.0),
        (1.0, 1.0, 1.0),
        (1.0, 4.0, 0.25),
        (3.0, 2.0, 1.5),
        (4.0, 2.0, 2.0),
        (100.0, 1.0, 2.0),
        (0.05, 0.0, 0.5),
        (0.1, 0.01, 1.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_efficiency(estimated: float | None, actual: float, expected: float) -> None:
    assert efficiency(estimated, actual) == about(expected)


@pytest.mark.parametrize(
    ("result", "indicators"),
    [
        ({"result": LONG}, []),
        ("text", []),
        (None, ["low_quality_output"]),
        ("", ["low_quality_output"]),
        ({}, []),
        ({"error": "e"}, ["low_quality_output", "execution_error"]),
        ({"failed": True}, ["low_quality_output"]),
        ({"result": LONG, "error": "e"}, ["execution_error"]),
        ({"result": LONG, "error": None}, []),
        ({"result": LONG, "timeout": True}, ["performance_issue"]),
        ({"result": LONG, "timeout": 0}, []),
        ({"result": LONG, "error": "e", "timeout": 1}, ["execution_error", "performance_issue"]),
        ({"error": "e", "timeout": 1}, ["low_quality_output", "execution_error", "performance_issue"]),
        ("error and timeout", []),
    ],
    ids=str,
)
def test_indicators(result: Any, indicators: list[str]) -> None:
    assert feedback_on(result)["replan_indicators"] == indicators


DETAIL = "enhance_output_detail"
REDUCE = "reduce_task_complexity"


@pytest.mark.parametrize(
    ("result", "duration", "estimated", "suggestions"),
    [
        ({"result": LONG}, 1.0, None, []),
        ({"result": LONG}, 1.0, 1.0, []),
        ({"result": LONG}, 1.5, 1.0, []),
        ({"result": LONG}, 1.6, 1.0, [REDUCE, "parallelize_subtasks"]),
        ({"result": LONG}, 0.1, 0.0, []),
        ({"result": LONG}, 0.11, 0.0, [REDUCE]),
        ({"result": "x" * 19}, 1.0, None, [DETAIL]),
        ({"result": "x" * 20}, 1.0, None, []),
        ({}, 1.0, None, [DETAIL]),
        ({"text": LONG}, 1.0, None, [DETAIL]),
        ("short", 1.0, None, []),
        (None, 1.0, None, []),
        ({}, 2.0, 1.0, [REDUCE, "parallelize_subtasks", DETAIL]),
        ({}, 2.0, 0.0, [REDUCE, DETAIL]),
    ],
    ids=str,
)
def test_optimization_suggestions(
    result: Any, duration: float, estimated: float | None, suggestions: list[str]
) -> None:
    assert feedback_on(result, duration, estimated)["optimization_suggestions"] == suggestions


TIMEOUT = ["increase_timeout", "break_into_smaller_tasks"]
MEMORY = ["reduce_data_size", "use_streaming_approach"]
CONNECTION = ["retry_with_backoff", "use_alternative_endpoint"]
OTHER = ["retry_with_different_parameters"]


@pytest.mark.parametrize(
    ("error_type", "message", "replannable", "changes"),
    [
        ("TimeoutError", "", True, TIMEOUT),
        ("ConnectionError", "refused", True, CONNECTION),
        ("HTTPError", "503", True, CONNECTION),
        ("MemoryError", "", True, MEMORY),
        ("RuntimeError", "Tool execution failed: no", True, OTHER),
        ("ValueError", "bad", False, OTHER),
        ("KeyError", "'timeouts'", True, TIMEOUT),
        ("ValueError", "Timeout after 3 s", True, TIMEOUT),
        ("ConnectionResetError", "reset", False, CONNECTION),
        ("ValueError", "out of memory", False, MEMORY),
        ("OSError", "http://example.org", False, CONNECTION),
        ("RuntimeError", "timeout while out of memory", True, TIMEOUT),
        ("MemoryError", "connection buffer", True, MEMORY),
    ],
)
def test_what_to_do_about_a_failure(error_type: str, message: str, replannable: bool, changes: list[str]) -> None:
    failure = Failure(error_type, message)
    assert is_replannable(failure) is replannable
    assert suggested_changes(failure) == changes
    feedback = feedback_on_failure(failure)
    assert (feedback["replannable"], feedback["suggested_changes"]) == (replannable, changes)


def test_feedback_on_success_has_exactly_these_values() -> None:
    assert feedback_on({"type": "generation", "result": LONG}, duration=2.0, estimated=1.0) == {
        "execution_quality": 0.8,
        "resource_usage": asdict(USAGE) | {"efficiency_ratio": 0.5},
        "performance_metrics": {"duration": 2.0, "expected_duration": 1.0, "efficiency": 0.5},
        "replan_indicators": [],
        "optimization_suggestions": [REDUCE, "parallelize_subtasks"],
    }


def test_feedback_on_success_without_an_estimate() -> None:
    feedback = feedback_on("text", duration=2.0)
    assert feedback["performance_metrics"] == {"duration": 2.0, "expected_duration": None, "efficiency": 1.0}
    assert feedback["resource_usage"]["efficiency_ratio"] == 1.0


def test_feedback_on_failure_has_exactly_these_values() -> None:
    failure = Failure("ConnectionError", "the line is dead")
    assert feedback_on_failure(failure, duration=4.0, estimated=1.0) == {
        "execution_quality": 0.0,
        "error_type": "ConnectionError",
        "error_message": "the line is dead",
        "replannable": True,
        "resource_usage": asdict(USAGE) | {"efficiency_ratio": 0.25},
        "performance_metrics": {"duration": 4.0, "expected_duration": 1.0, "failure_point": "execution"},
        "suggested_changes": CONNECTION,
        "replan_reason": "execution_failure_connectionerror",
    }


@pytest.mark.parametrize(
    ("result", "suggested"),
    [
        ({"result": LONG}, False),
        ("text", False),
        ({}, True),
        ({"result": LONG, "error": "e"}, True),
        ({"result": LONG, "timeout": 1}, False),
        (None, True),
        ("", True),
    ],
    ids=str,
)
def test_low_quality_suggests_a_replan(result: Any, suggested: bool) -> None:
    feedback = feedback_on(result)
    expected = {
        "node_id": "a",
        "reason": "low_quality_output",
        "suggested_changes": feedback["optimization_suggestions"],
    }
    assert replan_suggestion("a", feedback) == (expected if suggested else None)


@pytest.mark.parametrize(("indicators", "suggested"), [([], False), (["one"], False), (["one", "two"], True)])
def test_two_indicators_suggest_a_replan_whatever_the_quality(indicators: list[str], suggested: bool) -> None:
    feedback = feedback_on({"result": LONG}) | {"replan_indicators": indicators}
    assert (replan_suggestion("a", feedback) is not None) is suggested


def test_a_replannable_failure_suggests_a_replan() -> None:
    feedback = feedback_on_failure(Failure("TimeoutError", "too slow"))
    assert replan_suggestion("a", feedback) == {
        "node_id": "a",
        "error": "too slow",
        "replan_reason": "execution_failure",
        "suggested_changes": TIMEOUT,
    }


def test_any_other_failure_suggests_nothing() -> None:
    assert replan_suggestion("a", feedback_on_failure(Failure("ValueError", "bad"))) is None


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], (None, None, None)),
        ([{"input_tokens": 3, "output_tokens": 4, "cost_usd": 0.5}], (3, 4, 0.5)),
        ([{"input_tokens": 3, "cost_usd": 0.5}, {"input_tokens": 1, "cost_usd": None}], (4, None, None)),
        ([{"input_tokens": "3", "output_tokens": True, "cost_usd": float("nan")}], (None, None, None)),
        ([{"input_tokens": 0, "output_tokens": -1, "cost_usd": 0}], (0, None, 0)),
    ],
)
def test_usage_of_models_is_a_sum_only_where_all_of_it_is_known(calls: list[dict[str, Any]], expected: Any) -> None:
    usage = USAGE.with_calls(calls)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == expected


def test_a_failed_check_tells_its_quality_and_its_evidence() -> None:
    feedback = feedback_on_failure(Failure("RuntimeError", "below 0.8", 0.4, ("it says: maybe",)))
    assert (feedback["execution_quality"], feedback["evidence"]) == (0.4, ["it says: maybe"])


def test_evidence_that_is_no_list_is_none() -> None:
    assert "evidence" not in feedback_on({"result": LONG, "metadata": {"evidence": "text", "quality": True}})
