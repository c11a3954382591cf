"""Flows that an engineer writes without us, both with results that are persisted under a key of their own.

`direct` is the careful one: an async flow, direct awaits, its own ready queue. `submitted` is the one of the tutorials:
each async task is submitted to the flow's task runner with the futures that it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import CachePolicy
from prefect.futures import wait
from prefect.runtime import flow_run
from typing_extensions import override

from benchmarks.shapes import Needs
from benchmarks.work import work_for


@dataclass
class OwnKey(CachePolicy):
    @override
    def compute_key(self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any) -> str:
        return f"by-hand-{flow_run.id}-{inputs['node_id']}"


@task(
    task_run_name="{node_id}",
    cache_policy=OwnKey(),
    persist_result=True,
    result_serializer="json",
)
async def do_node(node_id: str, seconds: float) -> dict[str, Any]:
    await work_for(seconds)
    return {"result": f"done {node_id}"}


@flow(name="by-hand", persist_result=False)
async def direct(needs: Needs, seconds: Mapping[str, float]) -> None:
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    states: dict[str, Any] = {}
    async with asyncio.TaskGroup() as group:

        async def step(node_id: str) -> None:
            waits = [states[need] for need in needs[node_id]]
            call: Any = do_node(node_id, seconds[node_id], wait_for=waits, return_state=True)
            states[node_id] = await call
            sorter.done(node_id)
            release()

        def release() -> None:
            for node_id in sorter.get_ready():
                group.create_task(step(node_id))

        release()


@flow(name="submitted", persist_result=False)
async def submitted(needs: Needs, seconds: Mapping[str, float]) -> None:
    futures: dict[str, Any] = {}
    submit: Any = cast("Any", do_node).submit  # its stub takes no `wait_for` beside a task's own arguments
    for node_id, before in needs.items():
        futures[node_id] = submit(node_id, seconds[node_id], wait_for=[futures[need] for need in before])
    wait(list(futures.values()))
