"""A process that runs a plan and leaves a line for each thing that it really does; made to be killed."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from tests.plans import node, plan
from vibe_prefect import (
    RunObserver,
    ToolRegistry,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
)


def chain() -> WorkflowPlan:
    return plan(*(node(f"n{index}", needs=[f"n{index - 1}"] if index else []) for index in range(20)))


def wide() -> WorkflowPlan:
    return plan(*(node(f"n{index}") for index in range(30)), node("join", needs=[f"n{index}" for index in range(30)]))


def heavy() -> WorkflowPlan:
    """Three nodes; the record of the second takes megabytes."""
    return plan(node("n0"), node("n1", needs=["n0"], parameters={"padding": 8_000_000}), node("n2", needs=["n1"]))


def hierarchical() -> WorkflowPlan:
    branches = [
        node(
            f"p{branch}",
            "composite",
            needs=[f"p{branch - 2}"] if branch > 1 else [],
            children=[node(f"p{branch}-{leaf}", needs=[f"p{branch}-{leaf - 1}"] if leaf else []) for leaf in range(4)],
        )
        for branch in range(5)
    ]
    return plan(*branches, node("end", needs=["p4", "p2-3"]))


def listed() -> WorkflowPlan:
    """A list of items with two nodes each, one of which is skipped for every other item, and nodes around it."""
    made = node("made")
    checked = node("checked", needs=["made"], when="{{ item is odd }}")
    items = {"for_each": "{{ range(8) | list }}", "key": "i{{ item }}", "children": [made, checked]}
    return plan(node("first"), node("items", "composite", needs=["first"], **items), node("last", needs=["items"]))


KINDS = {"chain": chain, "wide": wide, "hierarchical": hierarchical, "listed": listed, "heavy": heavy}


def text_of(output: Any) -> str:
    return (
        str(cast("dict[str, Any]", output)["text"]) if isinstance(output, dict) else json.dumps(output, sort_keys=True)
    )


def kill_at(size: int) -> None:
    """Have the system kill this process in the middle of writing a file that grows beyond a size in bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and the write would fail instead


class Announcer(RunObserver):
    """An observer that sends the flow run's id when the run has begun."""

    def __init__(self, begun: Connection) -> None:
        self.executor: WorkflowExecutor | None = None
        self._begun = begun

    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        assert self.executor is not None
        assert self.executor.last_run is not None
        self._begun.send(str(self.executor.last_run.flow_run_id))


def run(kind: str, folder: Path, begun: Connection, resume_from: str | None, file_limit: int | None) -> None:
    """Run a plan of a kind, send the run's id when it has begun, and write what the nodes made at its end."""
    if file_limit is not None:
        kill_at(file_limit)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def work(node: WorkflowNode, context: Any) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        os.write(log, f"{node.id}\n".encode())
        inputs = ",".join(map(text_of, context.previous_outputs.values()))
        return {"text": f"{node.id}({inputs})", "padding": "x" * node.parameters.get("padding", 0)}

    announcer = Announcer(begun)
    executor = WorkflowExecutor(
        tool_registry=ToolRegistry(), concurrency=4, storage=folder / "records", observers=[announcer]
    )
    announcer.executor = executor
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = asyncio.run(executor.execute_plan(KINDS[kind](), resume_from=resume_from))
    outputs = {id: one.result for id, one in result.node_results.items()}
    (folder / "outputs.json").write_text(json.dumps(outputs, sort_keys=True))
