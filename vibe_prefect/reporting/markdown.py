"""The run's summary as markdown, for a Prefect markdown artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.flowchart import flowchart
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import (
    SYMBOLS,
    UNKNOWN,
    changes,
    cost,
    duration,
    gates,
    headline,
    percent,
    reason,
    standing,
    tokens,
    when,
)
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.escape import fenced, markdown, markdown_link, web_address
from vibe_prefect.text.units import counted, size

MAX_CHARACTERS = 100_000
"""Characters of a summary."""

MAX_LISTED = 50
"""Failures, suggestions or files that a section names before it only counts."""

MAX_TEXT = 1_000
"""Characters of one text that a model or a user wrote."""

_Item = TypeVar("_Item")


def markdown_summary(report: RunReport, max_characters: int = MAX_CHARACTERS) -> str:
    """Return a run's summary: result, numbers, failures, how to resume, the plan as a drawing, outputs.

    Texts of a model or a user are text in it and nothing else. Where it grows too long, whole sections are left
    out and named, so nothing stays half open.

    Args:
        report: The run.
        max_characters: Characters at most.
    """
    sections: list[str] = []
    left_out: list[str] = []
    room = max_characters - 500
    for name, make in _SECTIONS.items():
        section = make(report)
        if len(section) + 2 > room:
            left_out.append(name)
        elif section:
            sections.append(section)
            room -= len(section) + 2
    if left_out:
        sections.append(f"*Left out, since a summary holds {max_characters:,} characters: {', '.join(left_out)}.*")
    return "\n\n".join(sections) + "\n"


def _result(report: RunReport) -> str:
    link = markdown_link("the run in Prefect's UI", report.run_url) if web_address(report.run_url) else ""
    heading = f"# {SYMBOLS[standing(report)]} {markdown(headline(report), 300)}"
    names = f"Plan **{markdown(report.plan.id, 100)}**, run **{markdown(report.run_name, 100)}**"
    vibe = report.plan.source_vibe.description or "(no description)"
    lines = [heading, f"{names}{f': {link}' if link else ''}", f"> {markdown(vibe, MAX_TEXT)}"]
    return "\n\n".join(lines)


def _numbers(report: RunReport) -> str:
    totals = report.totals
    numbers = {
        "Started": when(report.started_at),
        "Took": duration(report.seconds),
        "Node time": duration(totals.node_seconds),
        "Saved by running side by side": percent(report.parallel_efficiency),
        "Gates": gates(totals.qualities),
        "Cost": cost(totals),
        "Tokens": tokens(totals),
    }
    available = {label: value for label, value in numbers.items() if value != UNKNOWN}
    return " · ".join(f"{label}: **{value}**" for label, value in available.items())


def _failures(report: RunReport) -> str:
    return _listed("## Failed nodes", report.having(ExecutionStatus.FAILED), _failure)


def _failure(node: NodeReport) -> str:
    message = node.error or "no message"
    has_type = node.error_type is None or message.startswith(node.error_type)
    text = message if has_type else f"{node.error_type}: {message}"
    lines = [f"- {SYMBOLS[ExecutionStatus.FAILED]} **{markdown(node.id, 100)}** - {markdown(text, MAX_TEXT)}"]
    if node.suggestions:
        lines.append(f"  - to change: {', '.join(markdown(text, 200) for text in node.suggestions[:10])}")
    lines += [f"  - evidence: {markdown(text, 300)}" for text in node.evidence[:5]]
    return "\n".join(lines)


def _resume(report: RunReport) -> str:
    if report.resume_command is None:
        return ""
    return "## To go on with what is left\n\n" + fenced(report.resume_command[:MAX_TEXT], "sh")


def _drawing(report: RunReport) -> str:
    if not report.nodes:
        return ""
    chart, note = flowchart(report)
    return "\n\n".join(filter(None, ["## Plan", f"*{note}*" if note else "", fenced(chart, "mermaid")]))


def _replan(report: RunReport) -> str:
    return _listed("## To plan again", report.replan_suggestions, _suggestion)


def _suggestion(suggestion: Mapping[str, Any]) -> str:
    node, cause = markdown(str(suggestion.get("node_id") or "plan"), 100), markdown(reason(suggestion), 200)
    changed = markdown(changes(suggestion), MAX_TEXT)
    return f"- **{node}**: {cause}{f' - {changed}' if changed else ''}"


def _outputs(report: RunReport) -> str:
    files = [(node, file) for node in report.nodes for file in node.files]
    where = f"Below {markdown_link(report.output_root, report.output_root)}" if files else ""
    return _listed(f"## Outputs\n\n{where}", files, lambda pair: _file(*pair))


def _file(node: NodeReport, file: OutputFile) -> str:
    volume = f", {size(file.bytes)}" if file.bytes is not None else ""
    return f"- {markdown_link(file.path, file.path)} ({markdown(file.mime, 100)}{volume}) by {markdown(node.id, 100)}"


def _listed(heading: str, items: Sequence[_Item], render: Callable[[_Item], str]) -> str:
    if not items:
        return ""
    return f"{heading}\n\n" + "\n".join(_capped(items, render))


def _capped(items: Sequence[_Item], render: Callable[[_Item], str]) -> Iterator[str]:
    """Yield an entry for each item, up to a number and to a third of a summary, then the number of missing ones."""
    room, count = MAX_CHARACTERS // 3, 0
    for item in items[:MAX_LISTED]:
        entry = render(item)
        room -= len(entry)
        if room < 0:
            break
        count += 1
        yield entry
    if count < len(items):
        yield f"- and {counted(len(items) - count, 'more', 'more')}"


_SECTIONS: Mapping[str, Callable[[RunReport], str]] = {
    "result": _result,
    "numbers": _numbers,
    "failed nodes": _failures,
    "how to resume": _resume,
    "plan": _drawing,
    "replan suggestions": _replan,
    "outputs": _outputs,
}
"""The sections, the most important first."""
