"""Provenance of a node's result: the run that executed it, its attempts, and the calls that its last attempt made.

It is kept in the node's result, in its record and in the report of the run, so that a run which reuses the node can
explain it as well. Texts are without secrets and have a bound; what is cut from them is counted in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True)
class RunLabel:
    """Id and name of a run, as they were when it executed a node."""

    run_id: str
    """Prefect's id of the flow run."""

    run_name: str
    """Prefect's name of the flow run."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a node."""

    started_at: str
    """Start, ISO 8601."""

    duration: float = 0.0
    """Seconds from its start to its end; 0 until then."""

    error_type: str | None = None
    """Class name of the exception that ended it; `None` where it succeeded."""

    error: str | None = None
    """Text of the exception, cut; `None` where the attempt succeeded."""

    wait: float | None = None
    """Seconds between its end and the start of the next attempt; `None` for the last one."""

    place: str | None = None
    """Placement where it was made, with the name of the machine; `None` for the process of the run."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call to a model, as it was sent, and its answer in numbers."""

    model: str
    """Model that was asked, such as `openai:gpt-5`."""

    prompt: str | None = None
    """The task with its material, as sent; `None` where a tool does not say."""

    system: str | None = None
    """The instructions, as sent; `None` where none were."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Other values that were sent, such as `temperature`."""

    answered_by: str | None = None
    """Name of the model in the answer; `None` where there was no answer, or it does not say."""

    input_tokens: int | None = None
    """Tokens that the model read; `None` where unknown."""

    output_tokens: int | None = None
    """Tokens that it wrote; `None` where unknown."""

    cost_usd: float | None = None
    """Price of the call in US dollars; `None` where unknown."""

    error: str | None = None
    """Reason why there is no usable answer; `None` where there is one."""


@dataclass(frozen=True, slots=True)
class JudgedCriterion:
    """A criterion, and how it was judged."""

    name: str
    """Name of the criterion."""

    score: float | None = None
    """0 to 1; `None` where it got none."""

    reason: str = ""
    """Why it got that score."""

    quotes: tuple[str, ...] = ()
    """Passages of the judged text that the score rests on."""

    needed: float | None = None
    """Score that it needed by itself; `None` where only the total counted."""

    quotes_left_out: int = 0
    """Number of further quotes, which are not kept."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Judgement of a gate, also of one that was passed."""

    passed: bool
    """Whether the judged work was accepted."""

    score: float | None = None
    """Score over all criteria, 0 to 1."""

    threshold: float | None = None
    """Score that was needed; `None` where every criterion had to be met."""

    criteria: tuple[JudgedCriterion, ...] = ()
    """The criteria in order."""

    evidence: tuple[str, ...] = ()
    """Reasons in the tool's own words, where it names no criteria."""

    left_out: int = 0
    """Number of further criteria, or reasons, which are not kept."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool."""

    tool: str
    """Name of the tool."""

    version: str
    """Version of the tool."""

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Its inputs after templates were filled in."""

    model_calls: tuple[ModelCall, ...] = ()
    """Calls to models that it made, in order."""

    model_calls_left_out: int = 0
    """Number of further calls to models, which are not kept."""

    judgement: Judgement | None = None
    """Its judgement, where it judges."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Edit of a node's output by a person. What the node had made itself is kept in its record."""

    by: str
    """Name of the person."""

    at: str
    """Time of the edit, ISO 8601."""

    run: str
    """Name of the run whose output was edited."""


@dataclass(frozen=True, slots=True)
class NodeProvenance:
    """Provenance of a node's result."""

    run: RunLabel | None = None
    """Run that executed the node; `None` outside of Prefect."""

    attempts: tuple[Attempt, ...] = ()
    """Every attempt, first to last."""

    tool_calls: tuple[ToolCall, ...] = ()
    """Tool calls of the last attempt, in order; one where a tool runs the node."""

    tool_calls_left_out: int = 0
    """Number of further tool calls, which are not kept."""

    edited: Edit | None = None
    """Edit of the output by a person, the last one; `None` where it is as the node made it."""

    @property
    def model_calls(self) -> tuple[ModelCall, ...]:
        """Calls to models of the last attempt, in order."""
        return tuple(call for tool_call in self.tool_calls for call in tool_call.model_calls)

    @property
    def judgement(self) -> Judgement | None:
        """The last judgement of the last attempt; `None` where nothing was judged."""
        return next((call.judgement for call in reversed(self.tool_calls) if call.judgement), None)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return _adapter().dump_python(self, warnings=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> NodeProvenance | None:
        """Read what `to_dict` returned; `None` where there is nothing, or something else.

        Provenance explains a result and decides nothing, so one that cannot be read counts as unknown.
        """
        if data is None:
            return None
        try:
            return _adapter().validate_python(data)
        except ValidationError:
            return None


@cache
def _adapter() -> TypeAdapter[NodeProvenance]:
    return TypeAdapter(NodeProvenance)
