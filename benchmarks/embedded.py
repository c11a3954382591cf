"""Three independent nodes of 0.2 s in one `execute_plan` on Prefect's embedded server, which is up already.

    python -m benchmarks.embedded

Prints the seconds of each run, the first with everything that a process does once, and whether the median is below the
contract's 0.5 s.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time

from benchmarks.overhead import THREE_NODES_BOUND

RUNS = 10


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        os.environ |= {"PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
        os.environ.pop("PREFECT_API_URL", None)
        os.chdir(home)
        asyncio.run(measure())


async def measure() -> None:
    from prefect.client.orchestration import get_client

    from vibe_prefect import Vibe, WorkflowExecutor, WorkflowNode, WorkflowPlan

    async with get_client() as client:
        await client.hello()
    nodes = [WorkflowNode.model_validate({"id": f"n{i}", "type": "generate", "description": "Wait"}) for i in range(3)]
    taken: list[float] = []
    for _ in range(RUNS):
        executor = WorkflowExecutor()
        begun = time.perf_counter()
        await executor.execute_plan(WorkflowPlan(id="three", source_vibe=Vibe(description="x"), root_nodes=nodes))
        taken.append(time.perf_counter() - begun)
        await asyncio.sleep(1)
    print("each run:", " ".join(f"{seconds:.3f}" for seconds in taken), "s")
    median = statistics.median(taken[1:])
    print(f"median after the first: {median:.3f} s, {'under' if median < THREE_NODES_BOUND else 'OVER'} 0.5 s")


if __name__ == "__main__":
    main()
