"""The run as one page of HTML that needs nothing else: no network, no script, no other file.

Three things keep what a model or a user wrote inert. The template escapes every value, invisible characters are made
visible, and a content security policy lets nothing act but the page's own style and script, which it names by their
hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from vibe_prefect.characters import visible
from vibe_prefect.core.outputs import MAX_PREVIEW, cut
from vibe_prefect.drawing.plan_picture import svg
from vibe_prefect.plan.graph import graph_of_run
from vibe_prefect.reporting import words
from vibe_prefect.reporting.explanations.page_explanations import as_text, page_explanations
from vibe_prefect.reporting.group_bars import group_bars
from vibe_prefect.reporting.media import Embedder
from vibe_prefect.reporting.next_steps import (
    advice,
    decisions,
    next_steps,
    suggestion_sentences,
    to_plan_again,
    verdict,
)
from vibe_prefect.reporting.outputs.html_cards import html_cards
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.timeline import WIDTH, timeline
from vibe_prefect.results import ExecutionStatus, output_command
from vibe_prefect.text.escape import line, web_address
from vibe_prefect.text.units import counted, seconds, size

MAX_FAILURES = 100
"""Failed nodes that are shown in full; the table has them all."""

MAX_SUGGESTIONS = 100
MAX_PLAN = 200_000
"""Characters of the plan as JSON."""

MAX_CELL = 300
"""Characters of a text in the table."""

MAX_BARS = 600
"""Bars on the timeline, and groups of a plan that is too large to be drawn."""

MAX_DRAWN = 500
"""Nodes up to which the plan is drawn; a larger one is shown as its groups."""

TICKS = 5
"""Times under the timeline, the first and the last included."""

_STYLE_IN_DRAWING = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def render_html(report: RunReport, files: Mapping[str, Path] | None = None, *, base: str = "") -> str:
    """Return a page that shows a run.

    Args:
        report: The run.
        files: Local paths of its files, by their paths in the report (see `media.local_files`); missing files are
            linked only.
        base: Relative address of the run's output folder, seen from the page, such as `../`; empty when it lies there.
    """
    embedder = Embedder(files or {}, base)
    drawing = _drawing(report) if len(report.nodes) <= MAX_DRAWN else ""
    line_of_time = timeline(report)
    cards = html_cards(report, files or {}, embedder)
    page = _environment().get_template("report.html.jinja")
    return page.render(
        report=report,
        totals=report.totals,
        policy=_policy(drawing),
        style=Markup(_resource("report.css")),  # noqa: S704 - our own file
        script=Markup(_resource("report.js")),  # noqa: S704 - our own file
        drawing=Markup(drawing),  # noqa: S704 - our own drawing, which escapes what it names
        groups=() if drawing else group_bars(report)[:MAX_BARS],
        columns=_columns(report),
        timeline=line_of_time,
        bars=line_of_time.bars[:MAX_BARS],
        ticks=_ticks(line_of_time.seconds),
        failures=report.having(ExecutionStatus.FAILED),
        overrides=[node for node in report.nodes if node.acceptance is not None],
        fallbacks=[node for node in report.nodes if node.fallback is not None],
        decided=[node for node in report.nodes if node.acceptance is None and decisions(node, report)],
        decisions=partial(decisions, report=report),
        steps=next_steps(report),
        suggestions=to_plan_again(report),
        advice=partial(advice, report=report),
        verdict=partial(verdict, report=report),
        suggested=partial(suggestion_sentences, report=report),
        most_text=MAX_PREVIEW,
        cards=cards,
        output_command=output_command(report.run_name, "NODE"),
        media_left_out=embedder.left_out,
        explanations=page_explanations(report),
        run_url=web_address(report.run_url),
        plan=cut(_plan_json(report), MAX_PLAN),
    )


def _columns(report: RunReport) -> frozenset[str]:
    """Return the columns of the table in which any node has a value."""
    values = {
        name: [getattr(node, name) for node in report.nodes if not node.is_group]
        for name in ("quality", "duration", "expected", "efficiency", "attempts", "tokens", "cost_usd")
    }
    known = {name for name, all_values in values.items() if any(value is not None for value in all_values)}
    remarks = any(node.error or advice(node, report) for node in report.nodes)
    return frozenset(known | ({"suggestions"} if remarks else set()))


def _drawing(report: RunReport) -> str:
    statuses = {node.id: node.status for node in report.nodes}
    links = {node.id: f"#node-{node.id}" for node in report.nodes}
    return svg(graph_of_run(report.plan), statuses, report.plan.id, links)


def _ticks(total: float) -> list[tuple[int, str]]:
    """Return the position of each tick on the timeline, and its time as text."""
    steps = range(TICKS)
    return [(step * WIDTH // (TICKS - 1), seconds(total * step / (TICKS - 1))) for step in steps]


def _plan_json(report: RunReport) -> str:
    return json.dumps(report.plan.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)


def _policy(drawing: str) -> str:
    """Return the content security policy: it allows only the styles, script and media that the page itself holds."""
    styles = [_resource("report.css"), *_STYLE_IN_DRAWING.findall(drawing)[:1]]
    style_sources = " ".join(_hash(style) for style in styles)
    script = _hash(_resource("report.js"))
    return (
        f"default-src 'none'; style-src {style_sources}; script-src {script}; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _resource(name: str) -> str:
    return (resource_files("vibe_prefect.reporting") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    names: dict[str, Any] = {
        "words": words,
        "size": size,
        "counted": counted,
        "seconds": seconds,
        "duration": words.duration,
        "as_text": as_text,
        "symbols": words.SYMBOLS,
        "cell": MAX_CELL,
        "most_failures": MAX_FAILURES,
        "most_suggestions": MAX_SUGGESTIONS,
    }
    environment.globals |= names
    filters: Any = environment.filters
    filters.update(line=line, cut=cut)
    return environment


def _shown(value: Any) -> Any:
    """Make invisible characters of a value visible; the page's own markup stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
