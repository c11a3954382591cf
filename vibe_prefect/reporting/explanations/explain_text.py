"""Explanation of a node as text for a terminal: one block a question, labels in one column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vibe_prefect.characters import visible
from vibe_prefect.core.outputs import MAX_PREVIEW, cut
from vibe_prefect.provenance import Attempt, Judgement, ModelCall
from vibe_prefect.reporting.explanations.explain import NodeExplanation
from vibe_prefect.reporting.words import money, number, ratio, when
from vibe_prefect.text.escape import line
from vibe_prefect.text.units import counted, seconds

LABEL = 11
"""Columns of the labels before the values."""

MAX_LINE = 2_000
"""Characters of a value on one line."""

UNKNOWN_CALLS = (
    "not known: the node left no record of its calls, as in a run that was killed, or one by an earlier version"
)


def explanation_lines(explanation: NodeExplanation) -> Iterator[str]:
    """Yield the lines of an explanation, each harmless for a terminal."""
    yield from _fact("node", f"{explanation.node_id} ({_kind(explanation)}): {explanation.description}")
    yield from _fact("status", _status(explanation))
    yield from _fact("why", f"{explanation.decision}: {explanation.why}")
    if explanation.edited is not None:
        edit = explanation.edited
        yield from _fact("edited", f"by {edit.by} on {when(edit.at)}, in the run {edit.run}")
    if explanation.judgement is not None:
        yield from _judged("judgement", explanation.judgement)
    for gate in explanation.gates:
        if gate.judgement is not None:
            yield from _judged(f"gate {gate.node_id}", gate.judgement)
    yield from _made(explanation)
    yield from _attempts(explanation.attempts)


def _kind(explanation: NodeExplanation) -> str:
    return f"{explanation.type.value}, {explanation.tool}" if explanation.tool else explanation.type.value


def _status(explanation: NodeExplanation) -> str:
    time_taken = f" in {seconds(explanation.duration)}" if explanation.duration is not None else ""
    run = explanation.executed_by
    by = f", executed by the run {run.run_name} ({run.run_id})" if run else ""
    reused = ", reused" if explanation.reused else ""
    return f"{explanation.status.value}{time_taken}{reused}{by}"


def _judged(label: str, judgement: Judgement) -> Iterator[str]:
    needed = "" if judgement.threshold is None else f", {ratio(judgement.threshold)} needed"
    yield from _fact(label, f"{'passed' if judgement.passed else 'not passed'}: {ratio(judgement.score)}{needed}")
    for criterion in judgement.criteria:
        own = "" if criterion.needed is None else f", {ratio(criterion.needed)} needed"
        yield _indented(f"{ratio(criterion.score)}{own}  {criterion.name}: {criterion.reason}")
        for quote in criterion.quotes:
            yield _indented(f'      "{quote}"')
        if criterion.quotes_left_out:
            yield _indented(f"      and {counted(criterion.quotes_left_out, 'more quote')}")
    for reason in judgement.evidence:
        yield _indented(reason)
    if judgement.left_out:
        yield _indented(f"and {judgement.left_out:,} more")


def _made(explanation: NodeExplanation) -> Iterator[str]:
    """Yield what made the result: models, prompts and inputs; what the plan says where that is not known."""
    if explanation.status.value == "skipped" or (explanation.tool is None and not explanation.tool_calls):
        yield from _data("parameters", explanation.parameters)
        return
    if not explanation.provenance_known:
        yield from _fact("model", UNKNOWN_CALLS)
        yield from _data("as planned", explanation.parameters)
        return
    for call in explanation.tool_calls:
        for model_call in call.model_calls:
            yield from _model(model_call)
        if call.model_calls_left_out:
            yield from _fact("model", f"and {counted(call.model_calls_left_out, 'more call')}")
        yield from _fact("tool", f"{call.tool}, version {call.version}")
        yield from _data("inputs", call.inputs)
    if explanation.tool_calls_left_out:
        yield from _fact("tool", f"and {counted(explanation.tool_calls_left_out, 'more call')}")
    others = {name: value for name, value in explanation.parameters.items() if name not in ("tool", "tool_inputs")}
    yield from _data("parameters", others)


def _model(call: ModelCall) -> Iterator[str]:
    answered = f", answered by {call.answered_by}" if call.answered_by not in (None, call.model) else ""
    sent = "".join(f", {name} {_value(value)}" for name, value in call.parameters.items())
    yield from _fact("model", f"{call.model}{answered}{sent}")
    if call.input_tokens is not None or call.cost_usd is not None:
        tokens = f"{number(call.input_tokens)} tokens read, {number(call.output_tokens)} written"
        yield from _fact("used", f"{tokens}, {money(call.cost_usd)}")
    if call.error is not None:
        yield from _fact("no answer", call.error)
    yield from _text("prompt", call.prompt)
    yield from _text("system", call.system)


def _attempts(attempts: tuple[Attempt, ...]) -> Iterator[str]:
    for position, attempt in enumerate(attempts, 1):
        ended = f"{attempt.error_type}: {attempt.error}" if attempt.error is not None else "succeeded"
        wait = f"; next after {seconds(attempt.wait)}" if attempt.wait is not None else ""
        place = f", on {attempt.place}" if attempt.place is not None else ""
        began = f"{when(attempt.started_at)}, {seconds(attempt.duration)}{place}"
        yield from _fact(f"attempt {position}", f"{began}: {line(ended, MAX_LINE)}{wait}")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _fact(label: str, text: str) -> Iterator[str]:
    yield f"{line(label, 100):<{LABEL}} {line(text, MAX_LINE)}"


def _text(label: str, text: str | None) -> Iterator[str]:
    """Yield a text of several lines below its label; nothing where there is none."""
    if text is None:
        return
    yield label
    for row in text.splitlines():
        yield f"{' ' * LABEL} {visible(row)}".rstrip()


def _data(label: str, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield data, a name a line, with texts of several lines below their names; nothing where there are none."""
    if not data:
        return
    yield label
    for name, value in data.items():
        text = cut(_value(value), MAX_PREVIEW)
        if "\n" not in text.strip():
            yield _indented(f"{name}: {text}")
            continue
        yield _indented(f"{name}:")
        for row in text.splitlines():
            yield _indented(f"  {visible(row)}")


def _indented(text: str) -> str:
    leading = len(text) - len(text.lstrip())
    return f"{' ' * (LABEL + 1 + leading)}{line(text, MAX_LINE)}"
