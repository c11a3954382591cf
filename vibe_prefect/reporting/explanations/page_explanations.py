"""Explanations of nodes as the page of a run shows them, folded, within a bound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.reporting.explanations.explain import Decision, NodeExplanation, explain_all
from vibe_prefect.reporting.report import RunReport

MAX_EXPLAINED = 1_000_000
"""Characters of prompts, inputs, evidence and errors in all explanations of a page together."""


@dataclass(frozen=True)
class PageExplanations:
    """Explanations for a page."""

    nodes: tuple[NodeExplanation, ...]
    """Explanations in plan order."""

    left_out: int
    """Number of explanations that found no room."""

    @cached_property
    def ids(self) -> frozenset[str]:
        """Ids of the nodes that are explained."""
        return frozenset(explanation.node_id for explanation in self.nodes)


def page_explanations(report: RunReport) -> PageExplanations:
    """Return the explanations of the nodes that did work of their own, or failed to; none for a simulated run."""
    shown: list[NodeExplanation] = []
    room, left_out = MAX_EXPLAINED, 0
    for explanation in explain_all(report) if not report.simulated else ():
        if not _has_story(explanation):
            continue
        size = len(json.dumps(explanation.to_dict()))
        if size > room:
            left_out += 1
            continue
        room -= size
        shown.append(explanation)
    return PageExplanations(tuple(shown), left_out)


def as_text(data: Mapping[str, Any]) -> str:
    """Return data as a page shows them: a name a line, texts of several lines below their names."""
    rows: list[str] = []
    for name, value in data.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append(f"{name}:\n{text}\n" if "\n" in text else f"{name}: {text}")
    return "\n".join(rows)


def _has_story(explanation: NodeExplanation) -> bool:
    if explanation.decision is Decision.UNDECIDED:
        return bool(explanation.attempts)
    is_group = explanation.type is WorkflowNodeType.COMPOSITE and explanation.tool is None
    return not is_group or explanation.decision in (Decision.FAILED, Decision.SKIPPED)
