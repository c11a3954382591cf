"""Feedback about nodes: quality, efficiency, suggestions. The formulas are the contract's, section 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import Any, TypeGuard, cast

from vibe_prefect.core.acceptance import ACCEPTED, acceptance_in
from vibe_prefect.core.fallback import FALLBACK, fallback_in
from vibe_prefect.core.outputs import beginning_of
from vibe_prefect.provenance import Edit
from vibe_prefect.results import NodeResult
from vibe_prefect.text.sendable import MAX_STATE, sendable

REPLANNABLE_TYPES = frozenset({"TimeoutError", "ConnectionError", "HTTPError", "MemoryError", "RuntimeError"})
LOW_QUALITY = 0.3
REPLAN_BELOW = 0.7
"""Quality below which another plan is suggested, unless the setting `replan_below` says otherwise."""

SLOW_WITHOUT_ESTIMATE = 0.1
SLOW_FACTOR = 1.5

SIMULATED = "simulated"
NOT_JUDGED = "not judged"
FROM_TEMPLATE = "from a template, without a model"
OVERRIDDEN = "refusal overridden"
"""Remarks on nodes that completed, each in the words that people read; see `remark_on`."""

ANSWERS = "answers"
"""Key of the answers of people in the metadata of a result, and in the feedback about the node: a line for each."""

EDITED = "edited"
"""Key of a person's edit in the feedback about a node, and the remark on the node."""

MODEL_KEYS = ("input_tokens", "output_tokens", "cost_usd")
"""Keys of a call to a model, in a tool result's `metadata["usage"]`."""


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """Measured resources of a node."""

    cpu_time: float = 0.0
    """CPU seconds."""

    memory_usage: int = 0
    """Peak resident memory of the process during the node's attempts, as sampled, in bytes."""

    scope: str = "process"
    """Scope of `cpu_time`: `thread` for a node that ran in a thread of its own, else `process`, which includes
    whatever ran beside the node."""

    attempts: int | None = None
    """Number of attempts."""

    memory_scope: str = "process"
    """Scope of `memory_usage`: the whole process, whatever ran beside the node included."""

    bytes_written: int | None = None
    """Bytes of the files in the node's result, each path once; 0 where there are none, `None` when unknown."""

    input_tokens: int | None = None
    """Tokens that models read; `None` when unknown, as for a node without calls to models."""

    output_tokens: int | None = None
    """Tokens that models wrote."""

    cost_usd: float | None = None
    """Price of the calls to models, in US dollars."""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON data."""
        return {name: getattr(self, name) for name in self.__slots__}  # a tenth of the time of `asdict`

    def with_calls(self, calls: Sequence[Mapping[str, Any]]) -> ResourceUsage:
        """Add the sums over calls to models; a number that is unknown for any of the calls makes its sum unknown."""
        input_tokens, output_tokens, cost = (_sum([_number(call.get(key)) for call in calls]) for key in MODEL_KEYS)
        return replace(
            self,
            input_tokens=None if input_tokens is None else int(input_tokens),
            output_tokens=None if output_tokens is None else int(output_tokens),
            cost_usd=cost,
        )


class FailureKind(StrEnum):
    """Kinds of failures for which a plain resume is no remedy."""

    REFUSED = "refused"
    """A gate measured a quality and refused what it judged."""

    BUDGET = "budget"
    """The run's budget did not allow a call."""

    INPUT = "input"
    """The plan gives the node inputs that it cannot work with."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Failure of a node: the error, and a check's findings."""

    error_type: str
    """The exception's class name."""

    message: str
    """The exception's text."""

    quality: float | None = None
    """Quality that a check found, 0 to 1; `None` where nothing was judged."""

    evidence: tuple[str, ...] = ()
    """Quotes from the checked text, as the reasons."""

    kind: FailureKind | None = None
    """Kind of the failure; `None` for one that may pass by itself, or once its cause is gone."""


def quality(result: Any) -> float:
    """Return a result's quality, 0 to 1: `quality` in a tool's metadata, else the contract's guess."""
    if result is None:
        return 0.0
    if not isinstance(result, dict):
        return 0.7 if result else 0.0
    facts = cast("dict[str, Any]", result)
    judged = judged_quality(_metadata(facts))
    if judged is not None:
        return judged
    score = 0.5 + (0.3 if len(beginning_of(facts.get("result", ""))) > 10 else 0.0)
    if facts.get("error") or facts.get("failed"):
        score = max(0.1, score - 0.4)
    return min(1.0, score)


def judged_quality(metadata: Mapping[str, Any]) -> float | None:
    """Return `quality` of a tool's metadata, 0 to 1; `None` where it is not a number."""
    judged = metadata.get("quality")
    return min(1.0, max(0.0, float(judged))) if _is_number(judged) else None


def remark_on(result: Any) -> str | None:
    """Return a remark on the output of a completed node, such as `not judged`; `None` where there is none.

    Args:
        result: The node's result: a tool says `judged: false` or `written_by: template` in its metadata, where an
            override of a gate and a fallback are noted as well, and the simulation marks what it returns.
    """
    facts = cast("dict[str, Any]", result) if isinstance(result, dict) else {}
    metadata = _metadata(facts)
    if facts.get("simulated") is True or metadata.get("simulated") is True:
        return SIMULATED
    if fallback_in(metadata) is not None:
        return FALLBACK
    if acceptance_in(metadata) is not None:
        return OVERRIDDEN
    if metadata.get("judged") is False:
        return NOT_JUDGED
    return FROM_TEMPLATE if metadata.get("written_by") == "template" else None


def judged_evidence(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts in `evidence` of a tool's metadata."""
    return _texts(metadata.get("evidence"))


def _texts(listed: Any) -> tuple[str, ...]:
    return tuple(str(text) for text in cast("list[Any]", listed)) if isinstance(listed, list | tuple) else ()


def _edit(result: NodeResult) -> Edit | None:
    return result.provenance.edited if result.provenance is not None else None


def usage_in(result: Any) -> Mapping[str, Any] | None:
    """Return the usage of models in a node's result, `metadata.usage`; `None` where it has none."""
    facts = cast("dict[str, Any]", result) if isinstance(result, dict) else {}
    usage = _metadata(facts).get("usage")
    return cast("Mapping[str, Any]", usage) if isinstance(usage, Mapping) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _number(value: Any) -> float | None:
    return value if _is_number(value) and value >= 0 else None


def _sum(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) if numbers and len(numbers) == len(values) else None


def _metadata(facts: dict[str, Any]) -> dict[str, Any]:
    metadata = facts.get("metadata")
    return cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}


def efficiency(estimated: float | None, actual: float) -> float:
    """Return `min(2.0, estimated / max(0.1, actual))`, in seconds both; 1.0 without an estimate."""
    return 1.0 if estimated is None else min(2.0, estimated / max(0.1, actual))


def success_feedback(result: NodeResult, estimated: float | None, usage: ResourceUsage) -> dict[str, Any]:
    """Return the feedback about a node that completed."""
    score = quality(result.result)
    ratio = efficiency(estimated, result.duration)
    returned: Any = result.result
    facts = cast("dict[str, Any]", returned) if isinstance(returned, dict) else {}
    evidence, acceptance = judged_evidence(_metadata(facts)), acceptance_in(_metadata(facts))
    fallback = fallback_in(_metadata(facts))
    return {
        "execution_quality": score,
        **_measured(judged_quality(_metadata(facts))),
        **({"evidence": list(evidence)} if evidence else {}),
        **({ACCEPTED: acceptance.to_dict()} if acceptance else {}),
        **({FALLBACK: fallback.to_dict()} if fallback else {}),
        **({EDITED: asdict(edited)} if (edited := _edit(result)) else {}),
        **({ANSWERS: list(answers)} if (answers := _texts(_metadata(facts).get(ANSWERS))) else {}),
        "resource_usage": {**usage.to_dict(), "efficiency_ratio": ratio},
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
        "execution_quality": 0.0 if failure.quality is None else failure.quality,
        **_measured(failure.quality),
        **({"evidence": list(failure.evidence)} if failure.evidence else {}),
        "error_type": failure.error_type,
        "error_message": sendable(failure.message, MAX_STATE),
        **({"failure_kind": failure.kind.value} if failure.kind else {}),
        "replannable": is_replannable(failure),
        "resource_usage": {**usage.to_dict(), "efficiency_ratio": efficiency(estimated, result.duration)},
        "performance_metrics": {
            "duration": result.duration,
            "expected_duration": estimated,
            "failure_point": "execution",
        },
        "suggested_changes": suggested_changes(failure),
        "replan_reason": f"execution_failure_{failure.error_type.lower()}",
    }


def _measured(score: float | None) -> dict[str, float]:
    """Return the judged quality, as opposed to the contract's guess; empty where nothing was judged."""
    return {} if score is None else {"measured_quality": score}


def replan_suggestion(node_id: str, feedback: dict[str, Any], below: float = REPLAN_BELOW) -> dict[str, Any] | None:
    """Return the suggestion for a planner that follows from a node's feedback, if any.

    Args:
        node_id: The node's id.
        feedback: The feedback about it.
        below: Quality, 0 to 1, below which another plan is suggested.
    """
    if "error_type" in feedback:
        return _failure_suggestion(node_id, feedback)
    if feedback["execution_quality"] >= below and len(feedback["replan_indicators"]) < 2:
        return None
    changes = feedback["optimization_suggestions"]
    return {"node_id": node_id, "reason": "low_quality_output", "suggested_changes": changes}


def is_replannable(failure: Failure) -> bool:
    """Return whether another plan, or another attempt, may help."""
    return failure.error_type in REPLANNABLE_TYPES or "timeout" in failure.message.lower()


def suggested_changes(failure: Failure) -> list[str]:
    """Return the changes to make after a failure, from the words in the error's type and text."""
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
    indicators = {
        "low_quality_output": score < LOW_QUALITY,
        "execution_error": bool(facts.get("error")) or fallback_in(_metadata(facts)) is not None,
        "performance_issue": bool(facts.get("timeout")),
    }
    return [name for name, present in indicators.items() if present]


def _optimizations(result: NodeResult, estimated: float | None) -> list[str]:
    changes: list[str] = []
    if estimated and result.duration > SLOW_FACTOR * estimated:
        changes += ["reduce_task_complexity", "parallelize_subtasks"]
    if estimated == 0 and result.duration > SLOW_WITHOUT_ESTIMATE:
        changes.append("reduce_task_complexity")
    facts: Any = result.result
    if isinstance(facts, dict) and len(beginning_of(cast("dict[str, Any]", facts).get("result", ""))) < 20:
        changes.append("enhance_output_detail")
    return changes
