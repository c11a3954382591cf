"""What a node costs on a Dask or a Ray cluster, beside a bare Prefect flow with the task runner of that cluster.

    python -m benchmarks.clusters [--quick]

Both run on one cluster that is there already, on one standing server, interleaved, with results persisted. Prints a
line of JSON for each kind of cluster and shape of plan: the median milliseconds a node at zero work, and their ratio,
which is to be at most 1.1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from prefect import flow, task
from prefect.task_runners import TaskRunner

from benchmarks import plans, shapes
from benchmarks.one_run import work
from benchmarks.server import standing_server
from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNodeType

TARGET = 1.1
WORKERS = 2
SETTING = "PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 nodes and two rounds only")
    quick = parser.parse_args().quick
    size, rounds = (20, 2) if quick else (40, 3)
    with standing_server() as (home, _):
        for kind, cluster in (("dask", dask_cluster), ("ray", ray_cluster)):
            with cluster() as (address, runner):
                os.environ[SETTING] = json.dumps({"cluster": {"kind": kind, "address": address, "shares_files": True}})
                for shape in (shapes.wide, shapes.chain):
                    plan = plans.of_needs(shape(size), 0)
                    asyncio.run(compare(f"{kind}, {shape.__name__}", runner(), plan, rounds, home))


@contextmanager
def dask_cluster() -> Generator[tuple[str | None, Callable[[], TaskRunner[Any]]]]:
    make_cluster: Any = import_module("distributed").LocalCluster
    runner = import_module("prefect_dask").DaskTaskRunner
    with make_cluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        address = cluster.scheduler_address
        yield address, lambda: runner(address=address)


@contextmanager
def ray_cluster() -> Generator[tuple[str | None, Callable[[], TaskRunner[Any]]]]:
    ray: Any = import_module("ray")
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    yield None, import_module("prefect_ray").RayTaskRunner  # both use the cluster that this process is connected to
    ray.shutdown()


async def compare(name: str, runner: TaskRunner[Any], plan: Any, rounds: int, home: Path) -> None:
    needs = {node.id: list(node.dependencies) for node in plan.root_nodes}
    bare = bare_flow.with_options(task_runner=runner)
    ours: list[float] = []
    theirs: list[float] = []
    await execute(plan, home)
    await bare(needs)
    for _ in range(rounds):
        theirs.append(await timed(lambda: bare(needs)))
        ours.append(await timed(lambda: execute(plan, home)))
    hand, own = (1000 * statistics.median(times) / len(needs) for times in (theirs, ours))
    line = {"benchmark": "clusters", "name": name, "nodes": len(needs), "bare_ms_a_node": round(hand, 2)}
    line |= {"ours_ms_a_node": round(own, 2), "ratio": round(own / hand, 2), "target": TARGET}
    print(json.dumps(line | {"holds": own / hand <= TARGET}), flush=True)


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


@task(task_run_name="{node_id}", persist_result=True, result_serializer="json")
async def bare_task(node_id: str) -> dict[str, Any]:
    return {"result": f"done {node_id}"}


@flow(name="bare")
async def bare_flow(needs: dict[str, list[str]]) -> None:
    await asyncio.to_thread(submit_in_order, needs)


def submit_in_order(needs: dict[str, list[str]]) -> None:
    """Submit each node when those before it have ended: on Ray, one that waits keeps a worker process of its own."""
    futures: dict[str, Any] = {}
    for node_id, sources in needs.items():
        for source in sources:
            futures[source].wait()
        futures[node_id] = cast("Any", bare_task).submit(node_id)
    for future in futures.values():
        future.result()


async def execute(plan: Any, home: Path) -> None:
    executor = WorkflowExecutor(storage=home / "records", output=home / "outputs", run_on="cluster")
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    result = await executor.execute_plan(plan)
    assert result.status is ExecutionStatus.COMPLETED, [result.get_summary(), *result.node_results.values()][:2]


if __name__ == "__main__":
    main()
