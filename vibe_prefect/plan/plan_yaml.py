"""Plans as YAML files for people: fields in the order in which one reads them, comments why each node is there."""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from vibe_prefect.characters import visible
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import PlanError
from vibe_prefect.plan.reading.plan_file import read_plan
from vibe_prefect.plan.reading.size import slim_data

WIDTH = 110
"""Columns of comments."""

INDENT = 2
"""Columns by which children stand further right than their parent's field."""

_LAST_FIELDS = ("root_nodes", "children")
_NODE_START = re.compile(r"""\s*- id:\s+["']?([\w.-]+)["']?\s*""")


def plan_yaml(plan: WorkflowPlan, reasons: Mapping[str, str], heading: str = "") -> str:
    """Return a plan as YAML; one with a text that YAML would not give back as it is, as JSON, which YAML readers take.

    Args:
        plan: The plan.
        reasons: Why each node is there, by its id.
        heading: Comment at the top.
    """
    data = slim_data(plan)
    lines = [*_comment(heading, 0), ""] if heading else []
    lines += _dumped({name: value for name, value in data.items() if name not in _LAST_FIELDS})
    lines += ["", "root_nodes:"] if data.get("root_nodes") else []
    for index, node in enumerate(data.get("root_nodes", [])):
        lines += [""] if index else []
        lines += _node_lines(node, reasons, INDENT)
    text = "\n".join([*lines, ""])
    return text if _reads_back(text, plan) else plan_json(plan)


def plan_json(plan: WorkflowPlan) -> str:
    """Return a plan as JSON."""
    return json.dumps(slim_data(plan), indent=2, ensure_ascii=False) + "\n"


def _reads_back(text: str, plan: WorkflowPlan) -> bool:
    try:
        return read_plan(plan.id, text).plan == plan
    except PlanError:
        return False


@dataclass(frozen=True)
class PlanComments:
    """Comments of a plan file."""

    heading: str = ""
    """Comment at its top."""

    of_nodes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Comments right above nodes that begin with their ids, by these."""


def read_comments(text: str) -> PlanComments:
    """Return the comments of a YAML plan that stand at its top or right above a node; others are passed over."""
    lines = text.splitlines()
    heading = _comment_text(takewhile(_is_comment, lines))
    of_nodes: dict[str, str] = {}
    block: list[str] = []
    for line in lines:
        if (match := _NODE_START.fullmatch(line)) and block:
            of_nodes[match[1]] = _comment_text(block).replace("\n", " ")
        block = [*block, line] if _is_comment(line) else []
    return PlanComments(heading, of_nodes)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _comment_text(lines: Iterable[str]) -> str:
    return "\n".join(line.lstrip().removeprefix("#").removeprefix(" ").rstrip() for line in lines)


def _node_lines(node: Mapping[str, Any], reasons: Mapping[str, str], indent: int) -> Iterator[str]:
    yield from _comment(reasons.get(str(node.get("id")), ""), indent)
    first, *others = _dumped({name: value for name, value in node.items() if name not in _LAST_FIELDS})
    lead = " " * indent
    yield f"{lead}- {first}"
    yield from (f"{lead}  {line}" if line else "" for line in others)
    if node.get("children"):
        yield f"{lead}  children:"
        for child in node["children"]:
            yield from _node_lines(child, reasons, indent + 2 + INDENT)


def _comment(text: str, indent: int) -> Iterator[str]:
    lead = f"{' ' * indent}# "
    for line in visible(text).splitlines():
        wrapped = textwrap.wrap(line, WIDTH - len(lead), break_long_words=False, break_on_hyphens=False)
        yield from (f"{lead}{part}".rstrip() for part in wrapped or [""])


def _dumped(data: Mapping[str, Any]) -> list[str]:
    yaml: Any = YAML(typ="rt")
    yaml.width = 100_000  # a line that is broken reads as another text to people
    yaml.indent(mapping=INDENT, sequence=2 * INDENT, offset=INDENT)
    text = io.StringIO()
    yaml.dump(_styled(dict(data)), text)
    return text.getvalue().rstrip("\n").split("\n")


def _styled(value: Any) -> Any:
    """Return data with texts of several lines as blocks, and short lists on one line."""
    if isinstance(value, dict):
        return {name: _styled(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        styled = CommentedSeq([_styled(item) for item in items])
        if all(isinstance(item, str | int | float) and len(str(item)) < 40 for item in items):
            cast("Any", styled).fa.set_flow_style()
        return styled
    if not isinstance(value, str):
        return value
    if visible(value) != value:  # unseen characters must be escapes, which only this style has
        return DoubleQuotedScalarString(value)
    return LiteralScalarString(value) if _fits_a_block(value) else value


def _fits_a_block(text: str) -> bool:
    """Return whether a text reads the same as a block of lines: none begins or ends with white space, or is unseen."""
    lines = text.split("\n")
    is_plain = "\t" not in text and not lines[0].startswith(" ")
    return len(lines) > 1 and bool(lines[0]) and is_plain and all(line == line.rstrip() for line in lines)
