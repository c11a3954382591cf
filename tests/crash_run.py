"""A process that runs a plan and leaves a line for each thing that it really does; made to be killed.

    python -m tests.crash_run KIND FOLDER [RUN]

The first line on standard output is the flow run's id, printed when the run has begun.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

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


KINDS = {"chain": chain, "wide": wide, "hierarchical": hierarchical, "heavy": heavy}

FILE_LIMIT = "CRASH_FILE_LIMIT"
"""The variable with the size, in bytes, at which writing a file kills the process."""


def kill_at(size: int) -> None:
    """Have the system kill this process in the middle of writing a file that grows beyond a size."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and the write would fail instead


class Announcer(RunObserver):
    """An observer that tells when the run has begun."""

    def __init__(self) -> None:
        self.executor: WorkflowExecutor | None = None

    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        assert self.executor is not None
        assert self.executor.last_run is not None
        sys.stdout.write(f"{self.executor.last_run.flow_run_id}\n")
        sys.stdout.flush()


def main(kind: str, folder: Path, run: str | None = None) -> None:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def work(node: WorkflowNode, context: Any) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        os.write(log, f"{node.id}\n".encode())
        inputs = ",".join(output["text"] for output in context.previous_outputs.values())
        return {"text": f"{node.id}({inputs})", "padding": "x" * node.parameters.get("padding", 0)}

    announcer = Announcer()
    executor = WorkflowExecutor(
        tool_registry=ToolRegistry(), concurrency=4, storage=folder / "records", observers=[announcer]
    )
    announcer.executor = executor
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = asyncio.run(executor.execute_plan(KINDS[kind](), resume_from=run))
    outputs = {id: one.result for id, one in result.node_results.items()}
    (folder / "outputs.json").write_text(json.dumps(outputs, sort_keys=True))


if __name__ == "__main__":
    if FILE_LIMIT in os.environ:
        kill_at(int(os.environ[FILE_LIMIT]))
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
