"""The run's summary as markdown, for a Prefect markdown artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.attempts_page import attempts_page
from vibe_prefect.reporting.flowchart import flowchart
from vibe_prefect.reporting.next_steps import (
    advice,
    decisions,
    next_steps,
    same_failures,
    suggestion_sentences,
    to_plan_again,
    verdict,
)
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import (
    SYMBOLS,
    UNKNOWN,
    cost,
    duration,
    gates,
    headline,
    percent,
    standing,
    tokens,
    when,
)
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.escape import fenced, markdown, markdown_link, web_address
from vibe_prefect.text.units import counted, listed, size

MAX_CHARACTERS = 100_000
"""Characters of a summary."""

MAX_LISTED = 50
"""Failures, suggestions or files that a section names before it only counts."""

MAX_TEXT = 1_000
"""Characters of one text that a model or a user wrote."""

_Item = TypeVar("_Item")


def markdown_summary(report: RunReport, max_characters: int = MAX_CHARACTERS) -> str:
    """Return a run's summary: result, numbers, failures, what helps, the plan as a drawing, outputs.

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
        "Saved by running side by side": percent(report.side_by_side),
        "Gates": gates(totals.qualities),
        "Cost": cost(totals),
        "Tokens": tokens(totals),
    }
    available = {label: value for label, value in numbers.items() if value != UNKNOWN}
    return " · ".join(f"{label}: **{value}**" for label, value in available.items())


def failure_section(report: RunReport) -> str:
    """Return the failed nodes with their errors and what helps; empty where none failed."""
    return _listed("## Failed nodes", same_failures(report), lambda nodes: _failure(nodes, report))


def _overrides(report: RunReport) -> str:
    accepted = [node for node in report.nodes if node.acceptance is not None]
    return _listed("## Refusals overridden", accepted, lambda node: _sentences(node.id, advice(node, report)))


def _fallbacks(report: RunReport) -> str:
    nodes = [node for node in report.nodes if node.fallback is not None]
    return _listed("## Fallbacks", nodes, lambda node: _sentences(node.id, advice(node, report)))


def _decided(report: RunReport) -> str:
    decided = [node for node in report.nodes if node.acceptance is None and decisions(node, report)]
    return _listed("## Approvals and edits", decided, lambda node: _sentences(node.id, decisions(node, report)))


def _sentences(id: str, texts: Sequence[str]) -> str:
    return f"- **{markdown(id, 100)}**: {markdown(' '.join(texts), MAX_TEXT)}"


def _failure(nodes: Sequence[NodeReport], report: RunReport) -> str:
    node = nodes[0]
    names = listed([f"**{markdown(node.id, 100)}**" for node in nodes], MAX_LISTED)
    message = verdict(node, report)
    has_type = node.refused or node.error_type is None or message.startswith(node.error_type)
    text = message if has_type else f"{node.error_type}: {message}"
    lines = [f"- {SYMBOLS[ExecutionStatus.FAILED]} {names} - {markdown(text, MAX_TEXT)}"]
    lines += [f"  - {markdown(sentence, MAX_TEXT)}" for sentence in advice(node, report)]
    lines += [f"  - evidence: {markdown(text, 300)}" for text in node.evidence[:5]]
    return "\n".join(lines)


def next_section(report: RunReport) -> str:
    """Return the commands that help after a run; empty where nothing is left to do."""
    steps = next_steps(report)
    parts = [f"{markdown(step.purpose, MAX_TEXT)}:\n\n{fenced(step.command[:MAX_TEXT], 'sh')}" for step in steps]
    return "\n\n".join(["## What now", *parts]) if parts else ""


def _drawing(report: RunReport) -> str:
    if not report.nodes:
        return ""
    chart, note = flowchart(report)
    return "\n\n".join(filter(None, ["## Plan", f"*{note}*" if note else "", fenced(chart, "mermaid")]))


def _replan(report: RunReport) -> str:
    return _listed("## To plan again", to_plan_again(report), lambda suggestion: _suggestion(suggestion, report))


def _suggestion(suggestion: Mapping[str, Any], report: RunReport) -> str:
    return _sentences(str(suggestion.get("node_id") or "plan"), suggestion_sentences(suggestion, report))


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
    "failed nodes": failure_section,
    "what now": next_section,
    "refusals overridden": _overrides,
    "fallbacks": _fallbacks,
    "approvals and edits": _decided,
    "attempts": lambda report: attempts_page(report, level=2) or "",
    "plan": _drawing,
    "replan suggestions": _replan,
    "outputs": _outputs,
}
"""The sections, the most important first."""
