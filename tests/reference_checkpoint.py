"""A checkpoint file as the reference writes it, and a stand-in for what the reference reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

PLAN_ID = "release-day"
ID = "release-day_20260205_231542_1a2b3c4d"

NODE_IDS = frozenset({"facts", "texts", "post"})
FREE_FORM = frozenset({"metadata", "parameters", "result", "feedback_data", "replan_suggestions"})
"""Fields that hold whatever a node, a tool or a user put there."""

FILE: dict[str, Any] = {
    "schema_version": "1.0",
    "checkpoint_id": ID,
    "created_at": "2026-02-05T23:15:42.123456",
    "plan": {
        "id": PLAN_ID,
        "source_vibe": {
            "description": "Announce the release to people who have never heard of it, in a friendly voice",
            "style": "warm",
            "constraints": ["under 200 words"],
            "domain": "text",
            "metadata": {"audience": "newcomers"},
        },
        "root_nodes": [
            {
                "id": "facts",
                "type": "analyze",
                "description": "Gather the facts",
                "parameters": {"depth": 2},
                "dependencies": [],
                "children": [],
                "estimated_duration": 30,
            },
            {
                "id": "texts",
                "type": "composite",
                "description": "Write the texts",
                "parameters": {},
                "dependencies": ["facts"],
                "children": [
                    {
                        "id": "post",
                        "type": "generate",
                        "description": "Write the post",
                        "parameters": {},
                        "dependencies": [],
                        "children": [],
                        "estimated_duration": None,
                    }
                ],
                "estimated_duration": None,
            },
        ],
        "estimated_total_duration": 90,
        "created_at": "2026-02-05T23:10:00",
    },
    "execution_result": {
        "plan_id": PLAN_ID,
        "status": "failed",
        "started_at": "2026-02-05T23:15:40.000001",
        "completed_at": "2026-02-05T23:15:42.100000",
        "total_duration": 2.1,
        "node_results": {
            "facts": {
                "node_id": "facts",
                "status": "completed",
                "result": {"type": "analysis", "result": "Fünf Neuerungen 🎉", "text": "five things"},
                "error": None,
                "duration": 0.7,
                "started_at": "2026-02-05T23:15:40.100000",
            },
            "texts": {
                "node_id": "texts",
                "status": "completed",
                "result": {"type": "composite", "result": "organized", "child_count": 1},
                "error": None,
                "duration": 0.1,
                "started_at": "2026-02-05T23:15:41.000000",
            },
            "post": {
                "node_id": "post",
                "status": "failed",
                "result": None,
                "error": "Simulated failure",
                "duration": 1.2,
                "started_at": "2026-02-05T23:15:41.200000",
            },
        },
        "parallel_efficiency": 0.0,
        "execution_groups": [["facts"], ["texts"]],
        "feedback_data": {"facts": {"execution_quality": 0.8, "resource_usage": {"memory_usage": "normal"}}},
        "replan_suggestions": [{"timestamp": "2026-02-05T23:15:42.0", "node_id": "post"}],
    },
}


def write(folder: Path, *, newline: str = "\n", extra: bool = False) -> None:
    """Write the file as the reference does, ASCII with an indent of two.

    Args:
        folder: Where to.
        newline: How lines end; the reference writes `\\r\\n` on Windows.
        extra: Whether every object has a key that nobody knows.
    """
    data = _with_extra(FILE) if extra else FILE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{ID}.json").write_text(json.dumps(data, indent=2), encoding="ascii", newline=newline)


def _with_extra(data: Any) -> Any:
    """Return data with a key that nobody knows in each object of the form, and none in what nodes left there."""
    if isinstance(data, list):
        return [_with_extra(item) for item in cast("list[Any]", data)]
    if not isinstance(data, dict):
        return data
    fields = cast("dict[str, Any]", data)
    added = {} if fields.keys() & NODE_IDS else {"later": [1]}
    return {name: value if name in FREE_FORM else _with_extra(value) for name, value in fields.items()} | added


@dataclass
class ReadNode:
    """A node with exactly the fields that the reference knows."""

    id: str
    type: str
    description: str
    parameters: dict[str, Any]
    dependencies: list[str]
    children: list[ReadNode]
    estimated_duration: float | None


@dataclass
class ReadResult:
    """A node's result with exactly the fields that the reference knows."""

    node_id: str
    status: str
    result: Any
    error: str | None
    duration: float
    started_at: str


@dataclass
class Read:
    """What the reference knows of a checkpoint after it was read."""

    checkpoint_id: str
    created_at: str
    vibe: dict[str, Any]
    nodes: list[ReadNode]
    results: dict[str, ReadResult]
    rest: dict[str, Any]


def read(path: str) -> Read:
    """Read a checkpoint's file as the reference does: by its keys alone, under a locale that knows ASCII only."""
    data = json.loads(Path(path).read_text(encoding="ascii"))
    assert data["schema_version"] == "1.0"
    plan, result = data["plan"], data["execution_result"]
    names = ("plan_id", "status", "started_at", "completed_at", "total_duration", "execution_groups", "feedback_data")
    return Read(
        data["checkpoint_id"],
        data["created_at"],
        {name: plan["source_vibe"][name] for name in ("description", "style", "constraints", "domain", "metadata")},
        [_node(node) for node in plan["root_nodes"]],
        {
            id: ReadResult(**{name: node[name] for name in ReadResult.__dataclass_fields__})
            for id, node in result["node_results"].items()
        },
        {name: result[name] for name in (*names, "parallel_efficiency", "replan_suggestions")}
        | {"plan": plan["id"], "estimated": plan["estimated_total_duration"], "made": plan["created_at"]},
    )


def _node(data: dict[str, Any]) -> ReadNode:
    fields: dict[str, Any] = {name: data[name] for name in ReadNode.__dataclass_fields__}
    fields["children"] = [_node(child) for child in data["children"]]
    return ReadNode(**fields)
