"""The feedback as a table for a Prefect table artifact."""

from __future__ import annotations

import json
from typing import Any

from vibe_prefect.reporting.next_steps import advice
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import STATUS_ORDER, UNKNOWN, status
from vibe_prefect.text.escape import cell
from vibe_prefect.text.units import counted

MAX_ROWS = 1_000
"""Nodes that a table shows."""

MAX_CHARACTERS = 200_000
"""Characters of the whole table as JSON."""

MAX_CELL = 200
"""Characters of one cell."""

COLUMNS = (
    "node",
    "error",
    "type",
    "tool",
    "status",
    "quality",
    "duration s",
    "expected s",
    "efficiency",
    "attempts",
    "tokens",
    "cost USD",
    "suggestions",
)
"""The columns in order; those in which no node has a value are left out. Units stand in their names, so that the cells
are numbers."""

_ALWAYS = frozenset({"node", "type", "status"})

Row = dict[str, Any]


def feedback_table(report: RunReport, max_rows: int = MAX_ROWS, max_characters: int = MAX_CHARACTERS) -> list[Row]:
    """Return a row for each node in plan order, ready for `create_table_artifact`.

    Composites without work have none, unless there is nothing else.

    Where there are too many, failed nodes are shown before running ones and those before the others, and a last row
    says how many were left out.

    Args:
        report: The run.
        max_rows: Largest number of nodes to show.
        max_characters: Largest number of characters of the table as JSON.
    """
    rank = {status: index for index, status in enumerate(STATUS_ORDER)}
    nodes = [node for node in report.nodes if not node.is_group] or report.nodes
    order = sorted(range(len(nodes)), key=lambda index: (rank[nodes[index].status], index))
    shown: dict[int, Row] = {}
    room = max_characters - _length(_note(len(order)))
    for index in order[:max_rows]:
        row = _row(nodes[index], report)
        room -= _length(row)
        if room < 0:
            break
        shown[index] = row
    rows = [shown[index] for index in sorted(shown)]
    missing = len(order) - len(rows)
    empty = {column for column in COLUMNS if all(row[column] in ("", UNKNOWN) for row in rows)} - _ALWAYS
    if missing:
        rows.append(_note(missing))
    return [{column: value for column, value in row.items() if column not in empty} for row in rows]


def _row(node: NodeReport, report: RunReport) -> Row:
    suggestions = " ".join(advice(node, report))
    values = (
        cell(node.id, 100),
        cell(node.error, MAX_CELL) if node.error else "",
        node.type.value,
        cell(node.tool, MAX_CELL) if node.tool else UNKNOWN,
        status(node),
        _rounded(node.quality),
        _rounded(node.duration),
        _rounded(node.expected),
        _rounded(node.efficiency),
        UNKNOWN if node.attempts is None else node.attempts,
        UNKNOWN if node.tokens is None else node.tokens,
        _rounded(node.cost_usd, 6),
        cell(suggestions, MAX_CELL),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _note(missing: int) -> Row:
    text = f"{counted(missing, 'more node')} left out of this table"
    return {**dict.fromkeys(COLUMNS, ""), "node": f"… {text}"}


def _rounded(value: float | None, digits: int = 3) -> float | str:
    return UNKNOWN if value is None else round(value, digits)


def _length(row: Row) -> int:
    return len(json.dumps(row)) + 2
