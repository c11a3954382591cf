"""What a careful engineer writes without us: an async Prefect flow, direct awaits, its own ready queue and keys."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from prefect import flow, task
from prefect.cache_policies import CachePolicy
from prefect.runtime import flow_run
from typing_extensions import override

from vibe_prefect import WorkflowPlan


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
    await asyncio.sleep(seconds)
    return {"result": f"done {node_id}"}


@flow(name="by-hand", persist_result=False)
async def by_hand(needs: dict[str, list[str]], seconds: dict[str, float]) -> None:
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


def flat(plan: WorkflowPlan) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Return a flat plan as the dictionaries that a flow written by hand would use."""
    needs = {node.id: list(node.dependencies) for node in plan.root_nodes}
    seconds = {node.id: float(node.parameters["seconds"]) for node in plan.root_nodes}
    return needs, seconds
