"""What fails around a node's work, before or after it, fails that node and no other."""

from __future__ import annotations

from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, ProgressEvent, WorkflowNode

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server", "folder")]


def done(node: WorkflowNode) -> str:
    return "done"


async def test_limit_of_zero_fails_its_nodes_alone() -> None:
    name, events = f"closed-{uuid4()}", list[ProgressEvent]()
    async with get_client() as client:
        await client.create_concurrency_limit(name, 0)
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=0))
    nodes = [
        node("slow"),
        node("tagged", policy={"tags": [name]}),
        node("limited", policy={"limits": [name]}),
        node("unknown", policy={"limits": [f"no-{name}"]}),
        node("after", needs=["tagged"]),
        node("later", needs=["slow"]),
    ]
    result = await executor(done, progress_callback=events.append).execute_plan(plan(*nodes))
    assert result.ids(ExecutionStatus.COMPLETED) == ("slow", "later")
    assert result.ids(ExecutionStatus.SKIPPED) == ("after",)
    for id in ("tagged", "limited"):
        assert "Slots requested is greater than the limit" in (result.node_results[id].error or "")
        assert result.feedback_data[id]["error_type"] == "ConcurrencySlotAcquisitionError"
    assert "must be created" in (result.node_results["unknown"].error or "")
    kinds = [event.event_type for event in events if event.node_id == "tagged"]
    assert kinds == ["node_started", "node_failed"]
