"""What is learned about each node: quality, efficiency, what to change. The formulas are the contract's, section 6."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from vibe_prefect.errors import ToolError
from vibe_prefect.results import NodeResult

REPLANNABLE_TYPES = frozenset({"TimeoutError", "ConnectionError", "HTTPError", "MemoryError", "RuntimeError"})
LOW_QUALITY = 0.3
REPLAN_BELOW = 0.7
SLOW_WITHOUT_ESTIMATE = 0.1
SLOW_FACTOR = 1.5


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What a node used, as measured."""

    cpu_time: float = 0.0
    """CPU seconds."""

    memory_usage: int = 0
    """Resident memory of the process when the node ended, in bytes."""

    scope: str = "process"
    """What `cpu_time` covers: `thread` for a node that ran in a thread of its own, else `process`, which includes
    whatever ran beside the node."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a node failed."""

    error_type: str
    """The exception's class name."""

    message: str
    """The exception's text."""

    quality: float = 0.0
    """What a gate that did not pass thinks of what it was given, 0 to 1."""

    evidence: tuple[str, ...] = ()
    """What that rests on."""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return why a node failed that raised an error. The contract calls a tool's failure a `RuntimeError`."""
        message = str(error) or repr(error)
        if isinstance(error, ToolError):
            return cls(RuntimeError.__name__, message, error.quality or 0.0, error.evidence)
        return cls(type(error).__name__, message)


def quality(result: Any) -> float:
    """Return a result's quality, 0 to 1: what a tool's metadata say under `quality`, else the contract's guess."""
    if result is None:
        return 0.0
    if not isinstance(result, dict):
        return 0.7 if result else 0.0
    facts = cast("dict[str, Any]", result)
    judged = _metadata(facts).get("quality")
    if isinstance(judged, int | float) and not isinstance(judged, bool):
        return min(1.0, max(0.0, float(judged)))
    score = 0.5 + (0.3 if len(str(facts.get("result", ""))) > 10 else 0.0)
    if facts.get("error") or facts.get("failed"):
        score = max(0.1, score - 0.4)
    return min(1.0, score)


def _metadata(facts: dict[str, Any]) -> dict[str, Any]:
    found = facts.get("metadata")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def efficiency(estimated: float | None, actual: float) -> float:
    """Return `min(2.0, estimated / max(0.1, actual))`, in seconds both; 1.0 without an estimate."""
    return 1.0 if estimated is None else min(2.0, estimated / max(0.1, actual))


def success_feedback(result: NodeResult, estimated: float | None, usage: ResourceUsage) -> dict[str, Any]:
    """Return the feedback about a node that completed."""
    score = quality(result.result)
    ratio = efficiency(estimated, result.duration)
    returned: Any = result.result
    facts = cast("dict[str, Any]", returned) if isinstance(returned, dict) else {}
    evidence = _metadata(facts).get("evidence")
    return {
        "execution_quality": score,
        **({"evidence": evidence} if evidence else {}),
        "resource_usage": {**asdict(usage), "efficiency_ratio": ratio},
        "performance_metrics": {
            "duration": result.duration,
            "expected_duration": estimated,
            "efficiency": ratio,
        },
        "replan_indicators": _indicators(result.result, score),
        "optimization_suggestions": _optimizations(result, estimated),
    }


def failure_feedback(
    result: NodeResult, failure: Failure, estimated: float | None, usage: ResourceUsage
) -> dict[str, Any]:
    """Return the feedback about a node that failed."""
    return {
        "execution_quality": failure.quality,
        **({"evidence": list(failure.evidence)} if failure.evidence else {}),
        "error_type": failure.error_type,
        "error_message": failure.message,
        "replannable": is_replannable(failure),
        "resource_usage": {**asdict(usage), "efficiency_ratio": efficiency(estimated, result.duration)},
        "performance_metrics": {
            "duration": result.duration,
            "expected_duration": estimated,
            "failure_point": "execution",
        },
        "suggested_changes": suggested_changes(failure),
        "replan_reason": f"execution_failure_{failure.error_type.lower()}",
    }


def replan_suggestion(node_id: str, feedback: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a planner should look at again in view of a node's feedback, if anything."""
    if "error_type" in feedback:
        return _failure_suggestion(node_id, feedback)
    if feedback["execution_quality"] >= REPLAN_BELOW and len(feedback["replan_indicators"]) < 2:
        return None
    changes = feedback["optimization_suggestions"]
    return {"node_id": node_id, "reason": "low_quality_output", "suggested_changes": changes}


def is_replannable(failure: Failure) -> bool:
    """Tell whether another plan, or another try, may help."""
    return failure.error_type in REPLANNABLE_TYPES or "timeout" in failure.message.lower()


def suggested_changes(failure: Failure) -> list[str]:
    """Return what to change after a failure, from the words in the error's type and text."""
    words = f"{failure.error_type} {failure.message}".lower()
    if "timeout" in words:
        return ["increase_timeout", "break_into_smaller_tasks"]
    if "memory" in words:
        return ["reduce_data_size", "use_streaming_approach"]
    if "connection" in words or "http" in words:
        return ["retry_with_backoff", "use_alternative_endpoint"]
    return ["retry_with_different_parameters"]


def _failure_suggestion(node_id: str, feedback: dict[str, Any]) -> dict[str, Any] | None:
    if not feedback["replannable"]:
        return None
    return {
        "node_id": node_id,
        "error": feedback["error_message"],
        "replan_reason": "execution_failure",
        "suggested_changes": feedback["suggested_changes"],
    }


def _indicators(result: Any, score: float) -> list[str]:
    facts = cast("dict[str, Any]", result) if isinstance(result, dict) else {}
    found = {
        "low_quality_output": score < LOW_QUALITY,
        "execution_error": bool(facts.get("error")),
        "performance_issue": bool(facts.get("timeout")),
    }
    return [name for name, present in found.items() if present]


def _optimizations(result: NodeResult, estimated: float | None) -> list[str]:
    changes: list[str] = []
    if estimated and result.duration > SLOW_FACTOR * estimated:
        changes += ["reduce_task_complexity", "parallelize_subtasks"]
    if estimated == 0 and result.duration > SLOW_WITHOUT_ESTIMATE:
        changes.append("reduce_task_complexity")
    facts: Any = result.result
    if isinstance(facts, dict) and len(str(cast("dict[str, Any]", facts).get("result", ""))) < 20:
        changes.append("enhance_output_detail")
    return changes
