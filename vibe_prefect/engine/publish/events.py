"""The steps of a run as Prefect events that automations can react to.

Prefect itself adds to each event the run's flow, deployment, work pool and tags.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.events import emit_event

from vibe_prefect.core.acceptance import Acceptance
from vibe_prefect.core.approval import Answer, Question, questions_in
from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.outputs import bounded, cut
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.engine.inputs.parameters import CHECK_VARIABLE
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.prefect_seam.event_stream import event_of, send
from vibe_prefect.engine.publish.drain import uses_embedded_server
from vibe_prefect.engine.server.ui_pages import run_page
from vibe_prefect.errors import PlanRunError
from vibe_prefect.reporting.next_steps import approve_command, next_steps, reject_command, suggestion_sentences
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, resume_command
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.secrecy.known import scrubbed

PREFIX = "vibe-prefect"

MAX_TEXT = 1_000
"""Characters of an error's text in an event."""

MAX_LISTED = 20
"""Failed nodes, or suggestions, that an event names."""


class RunEvents(RunObserver):
    """An observer that sends an event for each node that was worked on or skipped, and for the run's end.

    Reused nodes send none: their events were sent when they ran.
    """

    def __init__(self, flow_run: FlowRun, plan_id: str, report: Callable[[ExecutionResult], RunReport]) -> None:
        """Name the run that the events are about.

        Args:
            flow_run: The run.
            plan_id: Id of its plan.
            report: Makes the report of the run from its result.
        """
        self._flow_run = flow_run
        self._plan_id = plan_id
        self._report = report

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Send `vibe-prefect.node.completed`, `.failed` or `.skipped`."""
        resource = {
            **_node_resource(self._flow_run, node.id),
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
        """Send `vibe-prefect.run.completed` or `.failed`, and `vibe-prefect.replan.suggested` where it applies.

        A run that waits sends `vibe-prefect.approval.waiting` for each of its questions.
        """
        for question in questions_in(result.feedback_data):
            self._send_question(question)
        if result.status is ExecutionStatus.PENDING:
            return
        resource = _run_resource(self._flow_run)
        failed = result.ids(ExecutionStatus.FAILED)
        reason = str(PlanRunError(result)) if failed else None
        report = self._report(result)
        steps = next_steps(report)
        facts = {
            **_end_facts(self._flow_run, reason, steps[0].command if steps else None),
            "next_steps": [asdict(step) for step in steps],
            **{status.value: result.count(status) for status in ExecutionStatus if result.count(status)},
            "nodes": len(result.node_results),
            "duration": result.total_duration,
            "failed_nodes": list(failed[:MAX_LISTED]),
        }
        self._send(f"run.{result.status.value}", resource, facts)
        if result.should_replan():
            suggestions = result.replan_suggestions[:MAX_LISTED]
            texts = [text for suggestion in suggestions for text in suggestion_sentences(suggestion, report)]
            facts = {"count": len(result.replan_suggestions), "suggestions": bounded(suggestions), "sentences": texts}
            self._send("replan.suggested", resource, facts)

    def _send_question(self, question: Question) -> None:
        id, run_name = question.node_id, self._flow_run.name
        facts = {
            "node_id": id,
            "question": cut(question.text, MAX_TEXT),
            "items": list(question.open_items)[:MAX_LISTED],
            "until": question.until,
            "on_timeout": question.on_timeout if question.until else None,
            "run_url": None if uses_embedded_server() else run_page(self._flow_run.id),
            "approve": approve_command(run_name, id),
            "reject": reject_command(run_name, id),
        }
        self._send("approval.waiting", _node_resource(self._flow_run, id), facts)

    def _send(self, name: str, resource: dict[str, str], facts: dict[str, Any]) -> None:
        _send(name, self._flow_run, self._plan_id, resource, facts)


def announce_end(run: PastRun, state: State[Any]) -> None:
    """Send `vibe-prefect.run.failed`, `.crashed` or `.cancelled` for a run that ended before all its nodes had.

    Causes are a refused plan, a missing key, a signal, or a process that is gone.

    Args:
        run: The run.
        state: The state in which it ended.
    """
    end = "cancelled" if state.type is StateType.CANCELLING else state.type.value.lower()  # Prefect's hook comes before
    resume = None if end == "failed" else resume_command(run.name)
    no_nodes: list[str] = []
    facts = {**_end_facts(run, state.message or f"the run was {end}", resume), "failed_nodes": no_nodes}
    _send(f"run.{end}", run, run.plan_id or "", _run_resource(run), facts)


def announce_acceptance(run: PastRun, node_id: str, acceptance: Acceptance, verdict: str) -> None:
    """Send `vibe-prefect.node.accepted` for a gate's refusal that a person has overridden.

    Args:
        run: The run in which the gate refused.
        node_id: Id of the gate.
        acceptance: Who accepted, when, and why.
        verdict: The gate's verdict.
    """
    resource = _node_resource(run, node_id)
    facts = {"node_id": node_id, **acceptance.to_dict(), "verdict": cut(verdict, MAX_TEXT)}
    _send("node.accepted", run, run.plan_id or "", resource, {**facts, "resume": resume_command(run.name)})


def announce_answer(run: PastRun, question: Question, answers: Mapping[str, Answer]) -> None:
    """Send `vibe-prefect.approval.answered` for answers that a person gave.

    Args:
        run: The run that had asked.
        question: The question.
        answers: The answers, by item.
    """
    facts = {
        "node_id": question.node_id,
        "approved": [id for id, answer in answers.items() if answer.approved],
        "rejected": [id for id, answer in answers.items() if not answer.approved],
        "answers": [cut(f"{id}: {answer.line}", MAX_TEXT) for id, answer in answers.items()],
    }
    _send("approval.answered", run, run.plan_id or "", _node_resource(run, question.node_id), facts)


async def announce_end_by_hook(flow: object, flow_run: FlowRun, state: State[Any]) -> None:
    """Send the event of a run's end; Prefect calls this in the run's process or in that of its worker.

    A run whose nodes have all ended has sent the event itself, a worker's check is no run, and what became of a child
    run its parent says.
    """
    outcome = await state.aresult(raise_on_failure=False) if state.is_failed() else None
    if isinstance(outcome, PlanRunError) or CHECK_VARIABLE in os.environ:
        return
    run = PastRun.of(flow_run)
    if load_settings().events and not run.is_child:
        announce_end(run, state)


def _run_resource(run: FlowRun | PastRun) -> dict[str, str]:
    return {"prefect.resource.id": f"{PREFIX}.run.{run.id}", "prefect.resource.name": run.name}


def _node_resource(run: FlowRun | PastRun, node_id: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"{PREFIX}.node.{run.id}.{node_id}",
        "prefect.resource.name": node_id,
        f"{PREFIX}.node-id": node_id,
    }


def _end_facts(run: FlowRun | PastRun, reason: str | None, resume: str | None) -> dict[str, Any]:
    return {
        "run_url": None if uses_embedded_server() else run_page(run.id),
        "reason": cut(scrubbed(reason), MAX_TEXT) if reason is not None else None,
        "resume": resume,
    }


def _send(name: str, run: FlowRun | PastRun, plan_id: str, resource: dict[str, str], facts: dict[str, Any]) -> None:
    related = {
        "prefect.resource.id": f"prefect.flow-run.{run.id}",
        "prefect.resource.role": "flow-run",
        "prefect.resource.name": run.name,
    }
    context = FlowRunContext.get()
    is_inside = context is not None and context.flow_run is not None and context.flow_run.id == run.id
    name, resource = f"{PREFIX}.{name}", {**resource, f"{PREFIX}.plan-id": plan_id}
    payload = {"plan_id": plan_id, "run_name": run.name, **facts}
    if is_inside:
        send(event_of(name, resource, [related], payload))
    else:
        emit_event(name, resource=resource, related=[related], payload=payload)
