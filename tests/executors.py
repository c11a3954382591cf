"""Executors whose nodes are all run by one handler, and a handler that writes down what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vibe_prefect import ToolRegistry, WorkflowExecutor, WorkflowNode, WorkflowNodeType


class Worker:
    """A handler that writes down what it executed, and fails where it is told to."""

    def __init__(self, failing: set[str] | None = None) -> None:
        self.executed: list[str] = []
        self.failing = failing or set()
        self.inputs: dict[str, dict[str, Any]] = {}

    async def __call__(self, node: WorkflowNode, context: Any) -> dict[str, Any]:
        self.executed.append(node.id)
        self.inputs[node.id] = dict(context.previous_outputs)
        if node.id in self.failing:
            raise ValueError(f"{node.id} fails")
        return {"text": f"{node.description}: {len(self.inputs[node.id])}"}


def executor(handler: Callable[..., Any] | None = None, **options: Any) -> WorkflowExecutor:
    """An executor with records in the working folder, and without the tools that are built in."""
    settings: dict[str, Any] = {"tool_registry": ToolRegistry(), "storage": "records", **options}
    made = WorkflowExecutor(**settings)
    if handler is not None:
        made.node_handlers = dict.fromkeys(WorkflowNodeType, handler)
    return made


def run_id(subject: WorkflowExecutor) -> str:
    """The id of an executor's last run."""
    assert subject.last_run is not None
    return str(subject.last_run.flow_run_id)
