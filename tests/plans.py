"""Short ways to write plans in tests."""

from __future__ import annotations

from typing import Any

from vibe_prefect import Vibe, WorkflowNode, WorkflowPlan


def node(id: str, kind: str = "generate", *, needs: list[str] | None = None, **fields: Any) -> WorkflowNode:
    return WorkflowNode.model_validate(
        {"id": id, "type": kind, "description": f"do {id}", "dependencies": needs or [], **fields}
    )


def plan(*nodes: WorkflowNode, id: str = "plan", **fields: Any) -> WorkflowPlan:
    return WorkflowPlan(id=id, source_vibe=Vibe(description="a test"), root_nodes=list(nodes), **fields)
