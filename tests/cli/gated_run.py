"""A run in which each node waits until the file of its name lies in a folder; one named `<node>.fails` fails it.

python -m tests.cli.gated_run FOLDER NODES
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from tests.plans import node, plan
from vibe_prefect import ToolRegistry, WorkflowExecutor, WorkflowNode, WorkflowNodeType

BOUND = 300.0


def main(folder: Path, count: int) -> None:
    async def work(node: WorkflowNode) -> dict[str, Any]:
        end = time.monotonic() + BOUND
        while time.monotonic() < end:
            if (folder / f"{node.id}.fails").exists():
                raise RuntimeError(f"{node.id} was told to fail")
            if (folder / node.id).exists():
                return {"type": "generation", "result": f"made by {node.id}"}
            await asyncio.sleep(0.05)
        raise TimeoutError(f"nobody opened the gate of {node.id}")

    chain = [
        node(f"n{index}", needs=[f"n{index - 1}"] if index else [], estimated_duration=5) for index in range(count)
    ]
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), output=folder / "outputs", checkpoint_dir=folder)
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    asyncio.run(executor.execute_plan(plan(*chain, id="gated")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
