"""A run of 60 nodes that leaves a line for each node that it executes.

python -m tests.deployed.restart_run FOLDER [RUN]
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from tests.plans import node, plan
from vibe_prefect import ToolRegistry, WorkflowExecutor, WorkflowNode, WorkflowNodeType

NODES = 60
SECONDS = 0.5
"""How long each node works; four run side by side."""


def main(folder: Path, run: str | None = None) -> None:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def work(node: WorkflowNode) -> dict[str, Any]:
        await asyncio.sleep(SECONDS)
        os.write(log, f"{node.id}\n".encode())
        return {"text": node.id}

    chains = [
        node(f"n{index}", needs=[f"n{index - 4}"] if index >= 4 else [], policy={"tags": ["slow"]})
        for index in range(NODES)
    ]
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), storage=folder / "records", output=folder / "outputs")
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = asyncio.run(executor.execute_plan(plan(*chains, id="sixty"), resume_from=run))
    (folder / "status").write_text(result.status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
