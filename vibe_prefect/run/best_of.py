"""Best of several: the variations of a generate node are made side by side and scored, and the best is its output."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import PurePosixPath
from typing import Any, cast

from vibe_prefect.core.feedback import MODEL_KEYS, ResourceUsage, judged_evidence, judged_quality
from vibe_prefect.core.models import BestOf, WorkflowNode
from vibe_prefect.core.variations import BEST_OF, Variation, Variations
from vibe_prefect.errors import BudgetExceededError, ToolError, shorten
from vibe_prefect.plan.node_tools import scorer_inputs, tool_inputs, tool_of
from vibe_prefect.run.call_notes import CallNotes
from vibe_prefect.run.handlers import NodeContext, call_tool, fill_inputs, tool_result
from vibe_prefect.templates.texts import template_values
from vibe_prefect.text.sendable import MAX_STATE, sendable, text_of
from vibe_prefect.tools.base import InputNames, Tool, ToolResult

MAX_REASONS = 20
"""Reasons of one score that are kept."""


@dataclass
class _Attempt:
    """One variation on its way."""

    number: int
    outcome: ToolResult | None = None
    score: float | None = None
    passed: bool = False
    reasons: tuple[str, ...] = ()
    error: Exception | None = None


async def best_of_handler(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
    """Run a generate node several times, and return the best result with the scores of all.

    Args:
        node: The node, with `best_of`; a tool runs it.
        context: Its context.

    Raises:
        ToolError: No variation was made and scored.
        BudgetExceededError: The budget allowed none.
    """
    work = _BestOf(node, context)
    return await work.result()


class _BestOf:
    """The variations of one node in one attempt."""

    def __init__(self, node: WorkflowNode, context: NodeContext) -> None:
        assert node.best_of is not None
        self._node = node
        self._choice: BestOf = node.best_of
        self._context = context
        self._name = str(tool_of(node, context.tools))
        self._usages: list[Mapping[str, Any]] = []
        self._notes: dict[int, list[CallNotes]] = {}
        self._made = 0

    async def result(self) -> dict[str, Any]:
        tool = self._context.tools.get(self._name)
        inputs = tool_inputs(self._node, self._name, tool)
        if tool is not None:
            inputs = await fill_inputs(tool, inputs, template_values(self._context.tool_context))
        numbers = range(1, self._choice.n + 1)
        attempts = await asyncio.gather(*(self._attempt(number, tool, inputs) for number in numbers))
        scored = [attempt for attempt in attempts if attempt.score is not None]
        if not scored:
            raise self._failure(attempts)
        best = max(scored, key=lambda attempt: (attempt.passed, attempt.score or 0.0, -attempt.number))
        self._note_calls(best.number)
        return self._result(best, attempts)

    async def _attempt(self, number: int, tool: Tool | None, inputs: Mapping[str, Any]) -> _Attempt:
        """Make and score one variation; what goes wrong is kept in it."""
        attempt = _Attempt(number)
        try:
            context = self._variation(number)
            outcome = await call_tool(
                self._name, _apart(number, self._context.file_id or self._node.id, tool, inputs), context
            )
            self._charge(outcome.metadata)
            _check(outcome)
            attempt.outcome = outcome
            await self._score(attempt, outcome)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises ends this variation alone
            attempt.error = error
            self._charge({"usage": getattr(error, "usage", None)})
        self._made += 1
        if self._context.report_progress is not None:
            total = self._choice.n
            self._context.report_progress(self._made / total, f"{self._made} of {total} variations")
        return attempt

    def _variation(self, number: int) -> NodeContext:
        """Return the context of a variation: its key, from which tools draw seeds, is its own."""
        key = hashlib.sha256(f"{self._context.key} variation {number}".encode()).hexdigest()
        notes = self._notes.setdefault(number, [])
        return replace(self._context, key=key, variation=number, note_call=notes.append, report_progress=None)

    async def _score(self, attempt: _Attempt, made: ToolResult) -> None:
        name = self._choice.scorer
        inputs = scorer_inputs(self._choice)
        scorer = self._context.tools.get(name)
        if scorer is not None:
            values = template_values(self._context.tool_context) | {"output": made.output}
            inputs = await fill_inputs(scorer, inputs, values)
        context = replace(
            self._context,
            previous_outputs={self._node.id: made.output},
            absent=(),
            note_call=None,
            report_progress=None,
        )
        outcome = await call_tool(name, inputs, context)
        self._charge(outcome.metadata)
        score = _score_in(outcome)
        if score is None:
            _check(outcome)
            hint = "expected a number, or a mapping with the number 'score'"
            raise ToolError(f"{name} gave no score: {hint}, found {shorten(outcome.output)}", retryable=False)
        attempt.score, attempt.passed = score, outcome.success
        attempt.reasons = judged_evidence(outcome.metadata)[:MAX_REASONS]

    def _charge(self, metadata: Mapping[str, Any]) -> None:
        usage = metadata.get("usage")
        if isinstance(usage, Mapping) and all(usage is not charged for charged in self._usages):
            self._usages.append(cast("Mapping[str, Any]", usage))

    def _usage(self) -> dict[str, Any]:
        """Return the usage of models by all variations and their judgements."""
        total = ResourceUsage().with_calls(self._usages)
        return {key: getattr(total, key) for key in MODEL_KEYS} if self._usages else {}

    def _note_calls(self, best: int) -> None:
        """Note the calls that made the variations, those of the best first; scores are kept with the result."""
        if self._context.note_call is not None:
            for number in sorted(self._notes, key=lambda number: (number != best, number)):
                for notes in self._notes[number]:
                    self._context.note_call(notes)

    def _result(self, best: _Attempt, attempts: Sequence[_Attempt]) -> dict[str, Any]:
        made = cast("ToolResult", best.outcome)
        variations = Variations(
            best.number,
            self._choice.scorer,
            tuple(_evidence(attempt, is_best=attempt is best) for attempt in attempts),
        )
        metadata = {**made.metadata, BEST_OF: variations.to_dict()}
        if usage := self._usage():
            metadata["usage"] = usage
        if self._choice.tool is None:
            metadata |= {"quality": best.score, "evidence": list(best.reasons)}
        return tool_result(self._node, self._name, replace(made, metadata=metadata))

    def _failure(self, attempts: Sequence[_Attempt]) -> Exception:
        errors = [attempt.error for attempt in attempts if attempt.error is not None]
        self._note_calls(attempts[0].number)
        budget = next((error for error in errors if isinstance(error, BudgetExceededError)), None)
        if budget is not None and all(isinstance(error, BudgetExceededError) for error in errors):
            return budget
        messages = dict.fromkeys(text_of(error).removeprefix(_FAILED) for error in errors)
        retryable = any(getattr(error, "retryable", True) for error in errors)
        text = f"{_FAILED}none of {len(attempts)} variations succeeded: {'; '.join(messages)}"
        failure = ToolError(sendable(text, MAX_STATE), retryable=retryable)
        failure.usage = self._usage() or None
        return failure


_FAILED = "Tool execution failed: "


def _check(outcome: ToolResult) -> None:
    if not outcome.success:
        raise ToolError(f"{_FAILED}{outcome.error}", retryable=outcome.metadata.get("retryable", True))


def _evidence(attempt: _Attempt, *, is_best: bool) -> Variation:
    made = attempt.outcome
    error = None if attempt.error is None else sendable(text_of(attempt.error).removeprefix(_FAILED), MAX_STATE)
    output = made.output if made is not None and not is_best else None
    return Variation(attempt.number, attempt.score, error, attempt.reasons, output)


def _score_in(outcome: ToolResult) -> float | None:
    """Return the score that a tool gave: its measured quality, else its output or the `score` in that."""
    quality = judged_quality(outcome.metadata)
    if quality is not None:
        return quality
    output: Any = outcome.output
    score = cast("Mapping[str, Any]", output).get("score") if isinstance(output, Mapping) else output
    if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
        return None
    return float(score) if outcome.success else None


def _apart(number: int, node_id: str, tool: Tool | None, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a variation, which writes its files beside those of the others."""
    if tool is None:
        return dict(inputs)
    names = InputNames.of(tool)
    paths = {**names.default_outputs(node_id), **inputs}
    named = {name: path for name, path in paths.items() if name in names.outputs}
    return {**inputs, **{name: _numbered(path, number) for name, path in named.items() if isinstance(path, str)}}


def _numbered(path: str, number: int) -> str:
    """Return a path with a number before its ending: `hero.png` becomes `hero.2.png`."""
    whole = PurePosixPath(path)
    return str(whole.with_name(f"{whole.stem}.{number}{whole.suffix}")) if whole.name else path
