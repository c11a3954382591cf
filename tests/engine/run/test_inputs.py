"""Inputs and facts of runs on a real server: what a resume keeps, what enters as an edit, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Crashed

from tests.executors import run_id
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, InputsError, WorkflowExecutor, WorkflowNode, WorkflowPlan, run_plan
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.operations import RunOptions, forecast, resume, validate, with_earlier_inputs

pytestmark = pytest.mark.server

COMPLETED = ExecutionStatus.COMPLETED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def fill(id: str, template: str, needs: list[str] | None = None) -> WorkflowNode:
    parameters = {"tool": "template_fill", "tool_inputs": {"template": template}}
    return node(id, "transform", needs=needs, parameters=parameters)


def tea(**defaults: Any) -> WorkflowPlan:
    declared = {"product": {"type": "string"}, "words": {"type": "integer", "default": 5}}
    return plan(
        fill("named", "{{ inputs.product }}"),
        fill("dated", "{{ run.name }} {{ run.scheduled_for }}"),
        fill("free", "words"),
        id="tea",
        inputs=declared | defaults,
    )


def text(result: Any, id: str) -> str:
    return result.node_results[id].result["result"]["text"]


def reused(result: Any) -> list[str]:
    return [id for id, node_result in result.node_results.items() if node_result.reused]


async def test_a_resume_keeps_inputs_and_facts_and_a_changed_input_enters_as_an_edit() -> None:
    first = WorkflowExecutor()
    before = await first.execute_plan(tea(), inputs={"product": "Tea"})
    assert first.last_run is not None
    assert text(before, "named") == "Tea"
    assert text(before, "dated").startswith(f"{first.last_run.name} 20")
    async with get_client() as client:
        flow_run = await client.read_flow_run(first.last_run.flow_run_id)
    assert flow_run.parameters["inputs"] == {"product": "Tea"}
    assert PastRun.of(flow_run).facts.values()["scheduled_for"] == text(before, "dated").split()[1]

    again = await resume(run_id(first))
    assert reused(again) == ["named", "dated", "free"]
    other = await resume(run_id(first), inputs={"product": "Coffee"})
    assert (text(other, "named"), reused(other)) == ("Coffee", ["dated", "free"])
    assert text(other, "dated") == text(before, "dated")
    kept = await with_earlier_inputs(validate(tea()), run_id(first))
    assert kept.compiled.values.given == {"product": "Tea"}
    told = await forecast(validate(tea()), RunOptions(resume_from=run_id(first), inputs={"product": "Mate"}))
    assert told.forecast.nodes["named"].reason == "changed: inputs.product"
    assert told.verdict == "1 of 3 nodes would run, 2 reused"


async def test_a_run_that_another_flow_starts_takes_inputs_and_those_of_the_run_that_it_resumes() -> None:
    state = await run_plan(tea(), inputs={"product": "Tea"}, return_state=True)
    first = await state.result()
    assert text(first, "named") == "Tea"
    resumed = await run_plan(tea(), resume_from=str(state.state_details.flow_run_id), return_state=True)
    assert reused(await resumed.result()) == ["named", "dated", "free"]


async def test_wrong_inputs_are_refused_before_anything_runs() -> None:
    with pytest.raises(InputsError, match="product: missing"):
        await WorkflowExecutor().execute_plan(tea())
    state = await run_plan(tea(), inputs={"prodduct": "Tea"}, return_state=True)
    assert state.is_failed()
    assert "did you mean 'product'?" in (state.message or "")


async def test_a_checkpoint_keeps_the_nodes_that_name_inputs_and_facts() -> None:
    first = WorkflowExecutor(checkpoint_interval=1)
    await first.execute_plan(tea(), inputs={"product": "Tea"})
    second = WorkflowExecutor()
    result = await second.execute_plan(tea(), first.last_checkpoint_id, inputs={"product": "Tea"})
    assert reused(result) == ["named", "dated", "free"]


async def test_the_facts_of_a_run_are_those_of_the_time_at_which_it_was_due() -> None:
    first = WorkflowExecutor()
    await first.execute_plan(tea(), inputs={"product": "Tea"})
    async with get_client() as client:
        await client.set_flow_run_state(first.last_run.flow_run_id, Crashed(), force=True)  # pyright: ignore[reportOptionalMemberAccess]
    again = await resume(run_id(first))
    assert again.status is COMPLETED
    assert reused(again) == ["named", "dated", "free"]
