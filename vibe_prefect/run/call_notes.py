"""Tool calls as a node's provenance keeps them: without secrets, and each text cut where it is long."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from types import NoneType
from typing import Any, cast

from vibe_prefect.core.feedback import judged_evidence, judged_quality, usage_in
from vibe_prefect.core.outputs import MAX_DEPTH, MAX_PREVIEW, cut, cut_middle
from vibe_prefect.provenance import JudgedCriterion, Judgement, ModelCall, ToolCall
from vibe_prefect.text.sendable import MAX_STATE
from vibe_prefect.tools.secrecy.known import HIDDEN, is_named_like_a_secret, without_logins
from vibe_prefect.tools.secrecy.redaction import scrubbed_data

MAX_PROMPT = 12_000
"""Characters of a prompt that are kept: two thirds from its beginning, one third from its end."""

MAX_INPUTS = 16_000
"""Characters of all inputs of one tool call that are kept."""

MAX_MODEL_CALLS = 10
"""Calls to models of one tool call that are kept."""

MAX_CRITERIA = 50
"""Criteria, or lines of evidence, of one judgement that are kept."""

MAX_QUOTES = 10
"""Quotes for one criterion that are kept."""

MAX_QUOTE = 500
"""Characters of a quote that are kept."""

MAX_VALUES = 2_000
"""Values of all inputs of one tool call that are kept, mappings and lists included."""

_MOST = {"model": MAX_QUOTE, "prompt": MAX_PROMPT, "system": MAX_PREVIEW, "answered_by": MAX_QUOTE, "error": MAX_STATE}
_STATED = ("quality", "criteria", "threshold", "evidence", "model", "usage")


@dataclass
class CallNotes:
    """Notes on a tool call while it is made."""

    tool: str
    """Name of the tool."""

    version: str
    """Version of the tool."""

    inputs: Mapping[str, Any]
    """Its inputs."""

    model_calls: list[ModelCall] = field(default_factory=list[ModelCall])
    """Calls to models that it has made."""

    success: bool = False
    """Whether it has done its work."""

    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Metadata of its result, also of a failure that it reported."""

    def tool_call(self) -> ToolCall:
        """Return the call as it is kept."""
        stated: dict[str, Any] = {name: self.metadata[name] for name in _STATED if name in self.metadata}
        metadata = scrubbed_data(stated) if stated else stated
        calls = self.model_calls or _stated_call(metadata)
        return ToolCall(
            self.tool,
            self.version,
            kept_inputs(self.inputs),
            tuple(_kept_call(call) for call in calls[:MAX_MODEL_CALLS]),
            max(0, len(calls) - MAX_MODEL_CALLS),
            judgement_in(metadata, passed=self.success),
        )


def kept_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's inputs as JSON data, without secrets, within `MAX_INPUTS`; what is left out is counted."""
    whole = _Room(sys.maxsize, sys.maxsize).fit(inputs)  # without circles, in which secrets would be looked for forever
    return cast("dict[str, Any]", _Room(MAX_INPUTS, MAX_PREVIEW).fit(scrubbed_data(whole)))


def judgement_in(metadata: Mapping[str, Any], *, passed: bool) -> Judgement | None:
    """Return the judgement that a tool states in its metadata; `None` where it measured no quality.

    Args:
        metadata: `quality`, and beside it `criteria`, a list of mappings with `name`, `score`, `reason`, `quotes` and
            `needed`, or `evidence`, a list of texts; `threshold` is the quality that was needed.
        passed: Whether the tool succeeded.
    """
    score = judged_quality(metadata)
    if score is None:
        return None
    listed = metadata.get("criteria")
    stated = cast("Sequence[Any]", listed) if isinstance(listed, list | tuple) else ()
    criteria = [_criterion(cast("Mapping[str, Any]", one)) for one in stated if isinstance(one, Mapping)]
    evidence = () if criteria else judged_evidence(metadata)
    return Judgement(
        passed,
        score,
        _number(metadata.get("threshold")),
        tuple(criteria[:MAX_CRITERIA]),
        tuple(cut(line, MAX_STATE) for line in evidence[:MAX_CRITERIA]),
        max(0, len(criteria or evidence) - MAX_CRITERIA),
    )


def _criterion(facts: Mapping[str, Any]) -> JudgedCriterion:
    quotes = facts.get("quotes")
    listed = cast("Sequence[Any]", quotes) if isinstance(quotes, list | tuple) else ()
    return JudgedCriterion(
        cut(str(facts.get("name", "")), MAX_QUOTE),
        _number(facts.get("score")),
        cut(str(facts.get("reason", "")), MAX_STATE),
        tuple(cut(str(quote), MAX_QUOTE) for quote in listed[:MAX_QUOTES]),
        _number(facts.get("needed")),
        max(0, len(listed) - MAX_QUOTES),
    )


def _kept_call(call: ModelCall) -> ModelCall:
    texts = {name: getattr(call, name) for name in ("model", "prompt", "system", "answered_by", "error")}
    clean = scrubbed_data({name: text for name, text in texts.items() if text is not None})
    kept = {name: cut_middle(without_logins(text), _MOST[name]) for name, text in clean.items()}
    return replace(call, **kept, parameters=kept_inputs(call.parameters))


def _stated_call(metadata: Mapping[str, Any]) -> list[ModelCall]:
    """Return the call to the model that a tool names in its metadata without having noted it."""
    model = metadata.get("model")
    if not isinstance(model, str):
        return []
    usage: Mapping[str, Any] = usage_in({"metadata": metadata}) or {}
    tokens = [_number(usage.get(name)) for name in ("input_tokens", "output_tokens")]
    read, written = (None if count is None else int(count) for count in tokens)
    return [ModelCall(model, input_tokens=read, output_tokens=written, cost_usd=_number(usage.get("cost_usd")))]


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return value if is_number else None


class _Room:
    """Room for data that is kept."""

    def __init__(self, characters: int, text: int) -> None:
        """Set the room.

        Args:
            characters: Characters of all of it.
            text: Characters of one text.
        """
        self._left = characters
        self._values = MAX_VALUES
        self._most = text

    def fit(self, value: Any, depth: int = MAX_DEPTH) -> Any:
        """Return data as JSON that fits in; what does not is counted in its place."""
        self._values -= 1
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int | float | NoneType):
            return value
        if isinstance(value, Mapping | list | tuple) and not depth:
            return "..."
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value), depth - 1)
        if isinstance(value, list | tuple):
            return self._list(cast("Sequence[Any]", value), depth - 1)
        return f"<{type(value).__name__}>"

    @property
    def _full(self) -> bool:
        return self._left <= 0 or self._values <= 0

    def _text(self, text: str) -> str:
        excerpt = cut_middle(without_logins(text), min(self._most, max(0, self._left)))
        self._left -= len(excerpt)
        return excerpt

    def _mapping(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        fitted: dict[str, Any] = {}
        for name, item in values.items():
            if self._full:
                fitted["..."] = f"{len(values) - len(fitted):,} more"
                break
            key = self._text(str(name))
            is_secret = isinstance(item, str) and is_named_like_a_secret(key)
            fitted[key] = HIDDEN if is_secret else self.fit(item, depth)
        return fitted

    def _list(self, values: Sequence[Any], depth: int) -> list[Any]:
        fitted: list[Any] = []
        for item in values:
            if self._full:
                fitted.append(f"... {len(values) - len(fitted):,} more")
                break
            fitted.append(self.fit(item, depth))
        return fitted
