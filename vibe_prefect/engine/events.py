"""What happens in a run, as Prefect events that automations can react to.

Prefect itself adds to each event what the run belongs to: the flow, the deployment, the work pool, the tags.
"""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event

from vibe_prefect.models import WorkflowNode
from vibe_prefect.progress import RunObserver
from vibe_prefect.reporting.outputs import bounded, cut
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult

PREFIX = "vibe-prefect"

MAX_TEXT = 1_000
"""Characters of an error's text in an event."""

MAX_LISTED = 20
"""Failed nodes, or suggestions, that an event names."""


class RunEvents(RunObserver):
    """An observer that sends an event for each node that was worked on or skipped, and for the run's end.

    Nodes that are kept from an earlier run send none: their events were sent when they ran.
    """

    def __init__(self, flow_run: FlowRun, plan_id: str) -> None:
        """Name the run that the events are about."""
        self._flow_run = flow_run
        self._plan_id = plan_id
        self._related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}"}]
        self._related[0] |= {"prefect.resource.role": "flow-run", "prefect.resource.name": flow_run.name}

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Send `vibe-prefect.node.completed`, `.failed` or `.skipped`."""
        resource = {
            "prefect.resource.id": f"{PREFIX}.node.{self._flow_run.id}.{node.id}",
            "prefect.resource.name": node.id,
            f"{PREFIX}.node-id": node.id,
            f"{PREFIX}.node-type": node.type.value,
        }
        facts = {
            "node_id": node.id,
            "node_type": node.type.value,
            "duration": result.duration,
            "started_at": result.started_at,
            "error": cut(result.error, MAX_TEXT) if result.error is not None else None,
        }
        self._send(f"node.{result.status.value}", resource, facts)

    def run_finished(self, result: ExecutionResult) -> None:
        """Send `vibe-prefect.run.completed` or `.failed`, and `vibe-prefect.replan.suggested` where that is so."""
        resource = {
            "prefect.resource.id": f"{PREFIX}.run.{self._flow_run.id}",
            "prefect.resource.name": self._flow_run.name,
        }
        failed = result.ids(ExecutionStatus.FAILED)
        facts = {
            **{status.value: result.count(status) for status in ExecutionStatus if result.count(status)},
            "nodes": len(result.node_results),
            "duration": result.total_duration,
            "failed_nodes": list(failed[:MAX_LISTED]),
        }
        self._send(f"run.{result.status.value}", resource, facts)
        if result.should_replan():
            told = bounded(result.replan_suggestions[:MAX_LISTED])
            self._send("replan.suggested", resource, {"count": len(result.replan_suggestions), "suggestions": told})

    def _send(self, name: str, resource: dict[str, str], facts: dict[str, Any]) -> None:
        payload = {"plan_id": self._plan_id, "run_name": self._flow_run.name, **facts}
        emit_event(
            f"{PREFIX}.{name}",
            resource={**resource, f"{PREFIX}.plan-id": self._plan_id},
            related=[dict(one) for one in self._related],
            payload=payload,
        )
