"""A plan as the text of a plan file: YAML, with the reason of each edit as a comment above its node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import LiteralScalarString

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.plan_tree import DataPath, data_nodes
from vibe_prefect.errors import PlanError
from vibe_prefect.plan.reading.plan_file import read_plan
from vibe_prefect.plan.reading.size import slim_data

LINE_WIDTH = 120
"""Columns of the text."""


def plan_text(plan: WorkflowPlan, reasons: Mapping[str, Sequence[str]] | None = None, *, as_json: bool = False) -> str:
    """Return a plan as text that reads as the same plan: YAML, or JSON where that is wanted or YAML cannot hold it.

    Args:
        plan: The plan.
        reasons: Lines to put above a node as comments, by its id; JSON has none.
        as_json: Whether to write JSON.
    """
    data = slim_data(plan)
    if not as_json:
        text = _yaml(data, reasons or {})
        if _reads_as(text, plan):
            return text
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _reads_as(text: str, plan: WorkflowPlan) -> bool:
    try:
        return slim_data(read_plan("plan.yaml", text).plan) == slim_data(plan)
    except PlanError:
        return False


def _yaml(data: dict[str, Any], reasons: Mapping[str, Sequence[str]]) -> str:
    styled = cast("CommentedMap", _styled(data))
    for path, node in data_nodes(styled):
        lines = "\n".join(" ".join(line.split()) for line in reasons.get(node["id"], ()))
        if lines:
            indent = len(path) - 2  # a level is a field and an index
            _siblings(styled, path).yaml_set_comment_before_after_key(path[-1], before=lines, indent=indent)
    writer: Any = YAML()
    writer.width = LINE_WIDTH
    writer.allow_unicode = True
    stream = StringIO()
    writer.dump(styled, stream)
    return stream.getvalue()


def _siblings(data: Any, path: DataPath) -> Any:
    """Return the list that a node stands in."""
    for name in path[:-1]:
        data = data[name]
    return data


def _styled(value: Any) -> Any:
    """Return data for the writer: mappings that take comments, and texts of several lines as blocks."""
    if isinstance(value, dict):
        return CommentedMap((name, _styled(item)) for name, item in cast("dict[str, Any]", value).items())
    if isinstance(value, list):
        return CommentedSeq(_styled(item) for item in cast("list[Any]", value))
    return LiteralScalarString(value) if isinstance(value, str) and "\n" in value else value
