from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from tests.exhausting import EXHAUSTING
from tests.paths import DATA
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeContext,
    PlanError,
    PlanRunError,
    RunObserver,
    ToolRegistry,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
    compile_plan,
    load_plan,
    run_plan,
    tool,
)
from vibe_prefect.core.retries import Retry
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.provenance import RunLabel

pytestmark = pytest.mark.server

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


@tool
def shout(text: str) -> dict[str, str]:
    """Say it louder."""
    return {"text": text.upper()}


@tool
def refuse(reason: str) -> dict[str, str]:
    """Never agree."""
    raise ConnectionError(reason)


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def executor(handler: Callable[..., Any] | None = None, **options: Any) -> WorkflowExecutor:
    made = WorkflowExecutor(tool_registry=ToolRegistry([shout, refuse]), storage="records", **options)
    if handler is not None:
        made.node_handlers = dict.fromkeys(WorkflowNodeType, handler)
    return made


async def api(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    async with get_client() as client:
        response = await client.request(cast("Any", method), cast("Any", path), json=body)
        return response.json()


async def flow_run_of(subject: WorkflowExecutor) -> FlowRun:
    assert subject.last_run is not None
    async with get_client() as client:
        return await client.read_flow_run(subject.last_run.flow_run_id)


async def drawn_edges(subject: WorkflowExecutor) -> set[tuple[str, str]]:
    """The edges that Prefect's graph of the newest run shows, by task run names."""
    assert subject.last_run is not None
    graph = await api("GET", f"/flow_runs/{subject.last_run.flow_run_id}/graph-v2")
    labels = {id: details["label"] for id, details in graph["nodes"]}
    return {(labels[parent["id"]], details["label"]) for _, details in graph["nodes"] for parent in details["parents"]}


async def task_runs_of(subject: WorkflowExecutor) -> dict[str, dict[str, Any]]:
    assert subject.last_run is not None
    body = {"flow_runs": {"id": {"any_": [str(subject.last_run.flow_run_id)]}}}
    return {run["name"]: run for run in await api("POST", "/task_runs/filter", body)}


def same_keys(node: WorkflowNode) -> dict[str, Any]:
    """Results that share keys and small values, which Prefect would take for one another by identity."""
    return {"id": node.id, "type": "x", "result": "same", "text": "same", "plan": node.description}


async def test_prefects_graph_has_the_plans_edges() -> None:
    subject = load_plan(DATA / "sci-fi-trailer.json").plan
    runner = executor(same_keys, wait_recorded=True)
    result = await runner.execute_plan(subject)
    assert result.status is COMPLETED
    compiled = compile_plan(subject, simulate="all")
    assert {edge.kind for edge in compiled.edges} == {"data", "order", "hierarchy"}
    assert await drawn_edges(runner) == {(edge.source, edge.target) for edge in compiled.edges}


async def test_a_runs_name_begins_with_its_plan_and_takes_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []
    send = httpx.AsyncClient.send

    async def noted(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await send(self, request, **options)
        if response.status_code != 503:  # what SQLite had no time for is asked again
            sent.append((request.method, re.sub(r"^/api|[0-9a-f-]{36}", "", request.url.path)))
        return response

    monkeypatch.setattr(httpx.AsyncClient, "send", noted)
    runner = executor(same_keys)
    await runner.execute_plan(plan(node("a"), node("b")))
    run = await flow_run_of(runner)
    assert re.fullmatch(r"plan-[a-z]+-[a-z]+", run.name), run.name
    assert run.tags == ["plan:plan"]
    assert ("PATCH", "/flow_runs/") not in sent
    assert sent.count(("POST", "/flow_runs/")) == 1
    kept = sent.count(("POST", "/artifacts/")) - sent.count(("DELETE", "/artifacts/"))
    assert kept == 4, "the rest were drawn again for their place"


async def test_prefects_graph_has_all_edges_of_a_failed_run_too() -> None:
    def fail_beats(node: WorkflowNode) -> dict[str, Any]:
        if node.id == "beats":
            raise ValueError("no beats")
        return same_keys(node)

    subject = load_plan(DATA / "sci-fi-trailer.json").plan
    runner = executor(fail_beats, wait_recorded=True)
    result = await runner.execute_plan(subject)
    assert result.node_results["score"].status is SKIPPED
    edges = {(edge.source, edge.target) for edge in compile_plan(subject, simulate="all").edges}
    assert await drawn_edges(runner) == edges
    states = {name: run["state_name"] for name, run in (await task_runs_of(runner)).items()}
    assert (states["concept"], states["beats"], states["score"]) == ("Completed", "Failed", "Skipped")


async def test_task_runs_are_named_and_tagged() -> None:
    subject = plan(
        node("loud", parameters={"tool": "shout", "tool_inputs": {"text": "hi"}}, policy={"tags": ["night"]}),
        node("top", "composite"),
    )
    runner = executor(wait_recorded=True)
    await runner.execute_plan(subject)
    tags = {name: sorted(run["tags"]) for name, run in (await task_runs_of(runner)).items()}
    assert tags == {"loud": ["generate", "night", "tool:shout"], "top": ["composite"]}


async def test_the_flow_run_is_named_after_the_plan_and_ends_completed() -> None:
    runner = executor(same_keys)
    await runner.execute_plan(plan(node("a"), id="digest"))
    run = await flow_run_of(runner)
    assert run.name.startswith("digest-")
    assert run.state is not None
    assert run.state.is_completed()


async def test_a_failed_node_fails_the_flow_run_and_not_the_caller() -> None:
    def fail(node: WorkflowNode) -> None:
        raise ConnectionError("the line is dead")

    runner = executor(fail)
    result = await runner.execute_plan(plan(node("a"), node("b", needs=["a"]), id="digest"))
    assert result.status is FAILED
    assert result.node_results["a"].error == "the line is dead"
    assert result.node_results["b"].error == "Dependencies not satisfied: a failed"
    run = await flow_run_of(runner)
    assert run.state is not None
    assert run.state.is_failed()
    assert run.state.message == (
        "plan 'digest': 1 of 2 nodes failed, 1 skipped\n  a: the line is dead\n"
        f"to go on with what is left: vibe-prefect resume {run.name}\n"
        f"to see which edits of the plan would help; nothing is run: vibe-prefect replan {run.name}"
    )


async def test_the_flows_own_exception_carries_the_result() -> None:
    inputs = {"path": "../outside"}
    subject = plan(node("a", parameters={"tool": "read_text", "tool_inputs": inputs}), node("b", "composite"))
    with pytest.raises(PlanRunError) as caught:
        await run_plan(subject, output="made")
    assert caught.value.failed == ("a",)
    assert caught.value.result.node_results["b"].status is COMPLETED
    assert "lies outside" in str(caught.value)


async def test_the_flow_refuses_a_bad_plan_with_all_problems_as_its_states_message() -> None:
    state: Any = await cast("Any", run_plan(plan(node("a"), node("b", needs=["z"])), return_state=True))
    assert state.is_failed()
    assert "unknown node 'z'" in state.message
    assert "no tool, no handler and no model" in state.message


async def test_a_bad_plan_runs_nothing() -> None:
    runner = executor()
    with pytest.raises(PlanError, match="unknown tool 'shot'; did you mean 'shout'"):
        await runner.execute_plan(plan(node("a", parameters={"tool": "shot"})))
    assert runner.last_run is None


async def test_a_slow_node_holds_back_only_what_depends_on_it() -> None:
    finished: list[str] = []
    quick_is_done = asyncio.Event()

    async def handler(node: WorkflowNode) -> str:
        if node.id == "slow":
            await asyncio.wait_for(quick_is_done.wait(), 20)
        finished.append(node.id)
        if node.id == "quick-3":
            quick_is_done.set()
        return node.id

    chain = [node("quick-1"), node("quick-2", needs=["quick-1"]), node("quick-3", needs=["quick-2"])]
    result = await executor(handler).execute_plan(plan(node("slow"), *chain))
    assert result.status is COMPLETED
    assert finished == ["quick-1", "quick-2", "quick-3", "slow"]


async def test_no_more_nodes_than_the_limit_run_at_once() -> None:
    running: set[str] = set()
    seen: list[int] = []

    async def handler(node: WorkflowNode) -> str:
        running.add(node.id)
        seen.append(len(running))
        await asyncio.sleep(0.02)
        running.remove(node.id)
        return node.id

    result = await executor(handler, concurrency=3).execute_plan(plan(*(node(f"n{i}") for i in range(12))))
    assert result.status is COMPLETED
    assert max(seen) == 3


async def test_retries_use_prefects_and_count_as_one_task_run() -> None:
    attempts: list[str] = []

    def flaky(node: WorkflowNode) -> str:
        attempts.append(node.id)
        if len(attempts) < 3:
            raise TimeoutError("not yet")
        return "at last, it worked"

    notices: list[Retry] = []

    class Notices(RunObserver):
        def node_retried(self, node: WorkflowNode, retry: Retry) -> None:
            notices.append(retry)

    runner = executor(flaky, wait_recorded=True, observers=[Notices()])
    policy = {"retries": 3, "retry_delay": 0.05, "retry_jitter": 0}
    result = await runner.execute_plan(plan(node("a", policy=policy)))
    assert result.node_results["a"].result == "at last, it worked"
    assert len(attempts) == 3
    assert (await task_runs_of(runner))["a"]["run_count"] == 3
    provenance = result.node_results["a"].provenance
    assert runner.last_run is not None
    assert provenance is not None
    assert provenance.run == RunLabel(str(runner.last_run.flow_run_id), runner.last_run.name)
    errors = [(one.error_type, one.error) for one in provenance.attempts]
    assert errors == [("TimeoutError", "not yet")] * 2 + [(None, None)]
    waits = [one.wait for one in provenance.attempts]
    assert all(wait is not None and wait >= 0.05 for wait in waits[:2])
    assert waits[2] is None
    kept = await load_report(str(runner.last_run.flow_run_id), "records")
    assert kept.by_id["a"].provenance == provenance
    resumed = await executor(flaky).execute_plan(
        plan(node("a", policy=policy)), resume_from=str(runner.last_run.flow_run_id)
    )
    reused = resumed.node_results["a"]
    assert (reused.reused, reused.provenance) == (True, provenance)
    assert [replace(notice, pause=None) for notice in notices] == [Retry(n, 4, None, "not yet") for n in (2, 3)]
    assert all(notice.pause is not None and 0 <= notice.pause <= 0.1 for notice in notices)


async def test_a_node_that_never_succeeds_is_tried_as_often_as_its_policy_says() -> None:
    attempts: list[str] = []

    def never(node: WorkflowNode) -> None:
        attempts.append(node.id)
        raise ValueError(f"attempt {len(attempts)}")

    subject = plan(node("a", "generate"), policy={"retries": 2, "retry_delay": 0})
    result = await executor(never).execute_plan(subject)
    assert result.node_results["a"].error == "attempt 3"


async def test_a_node_over_its_timeout_fails_and_says_so() -> None:
    async def slow(node: WorkflowNode) -> None:
        await asyncio.sleep(30)

    result = await executor(slow).execute_plan(plan(node("a", policy={"timeout": 0.1})))
    assert result.node_results["a"].error == "timeout: the node took longer than its 0.1 s"
    feedback = result.feedback_data["a"]
    provenance = result.node_results["a"].provenance
    assert provenance is not None
    assert [one.error for one in provenance.attempts] == ["timeout: the node took longer than its 0.1 s"]
    assert (feedback["error_type"], feedback["replannable"]) == ("TimeoutError", True)
    assert feedback["suggested_changes"] == ["increase_timeout", "break_into_smaller_tasks"]


async def test_sync_handlers_run_in_threads_side_by_side() -> None:
    meeting = threading.Barrier(8)

    def handler(node: WorkflowNode) -> str:
        meeting.wait(20)
        return str(threading.get_ident())

    result = await executor(handler).execute_plan(plan(*(node(f"n{i}") for i in range(8))))
    assert result.status is COMPLETED
    threads = {one.result for one in result.node_results.values()}
    assert len(threads) == 8
    assert str(threading.main_thread().ident) not in threads
    assert result.feedback_data["n0"]["resource_usage"]["scope"] == "thread"


async def test_the_tool_calls_of_a_handler_are_tasks_within_the_nodes_task() -> None:
    async def handler(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
        first = await context.call_tool("shout", {"text": "one"})
        second = await context.call_tool("shout", {"text": "two"})
        return {"text": first["text"] + second["text"]}

    runner = executor(handler, wait_recorded=True)
    result = await runner.execute_plan(plan(node("a"), node("b", needs=["a"])))
    assert result.node_results["b"].result == {"text": "ONETWO"}
    assert runner.last_run is not None
    assert runner.last_run.task_runs == 6
    graph = await api("GET", f"/flow_runs/{runner.last_run.flow_run_id}/graph-v2")
    labels = {id: details["label"] for id, details in graph["nodes"]}
    inside = [
        (labels[outer["id"]], details["label"]) for _, details in graph["nodes"] for outer in details["encapsulating"]
    ]
    assert sorted(inside) == [("a", "shout"), ("a", "shout"), ("b", "shout"), ("b", "shout")]
    assert await drawn_edges(runner) == {("a", "b")}


async def test_a_tool_that_fails_within_a_handler_fails_the_node() -> None:
    async def handler(node: WorkflowNode, context: NodeContext) -> Any:
        return await context.call_tool("refuse", {"reason": "closed on Mondays"})

    result = await executor(handler).execute_plan(plan(node("a")))
    assert result.node_results["a"].error == "closed on Mondays"
    assert result.feedback_data["a"]["error_type"] == "ConnectionError"


async def test_outputs_reach_tools_through_templates_and_context() -> None:
    first = node("first", parameters={"tool": "shout", "tool_inputs": {"text": "{{ description }}"}})
    inputs = {"text": "{{ outputs.first.text }} and {{ vibe.description }}"}
    second = node("second", needs=["first"], parameters={"tool": "shout", "tool_inputs": inputs})
    result = await executor().execute_plan(plan(first, second))
    assert result.node_results["second"].result == {
        "type": "tool_execution",
        "tool": "shout",
        "description": "do second",
        "result": {"text": "DO FIRST AND A TEST"},
        "metadata": {},
    }


async def test_what_a_handler_does_to_its_inputs_is_seen_by_nobody_else() -> None:
    def handler(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
        for output in context.previous_outputs.values():
            output["text"] = "spoilt"
        return {"text": "fresh", "seen": dict(context.previous_outputs)}

    subject = plan(node("a"), node("b", needs=["a"]), node("c", needs=["a", "b"]))
    result = await executor(handler, concurrency=1).execute_plan(subject)
    assert result.node_results["a"].result["text"] == "fresh"
    assert result.node_results["b"].result["text"] == "fresh"


async def test_a_result_that_json_cannot_hold_fails_its_node_by_name() -> None:
    def handler(node: WorkflowNode) -> Any:
        return {"lock": threading.Lock()} if node.id == "bad" else {"when": Path("a/b")}

    result = await executor(handler).execute_plan(plan(node("bad"), node("good")))
    assert result.node_results["good"].result == {"when": "a/b"}
    error = result.node_results["bad"].error
    assert error is not None
    assert error.startswith("node 'bad' returned a dict that JSON cannot hold: Unable to serialize unknown type")


async def test_every_result_is_persisted_in_its_runs_namespace() -> None:
    runner = executor(same_keys)
    subject = plan(node("a"), node("b", needs=["a"]))
    await runner.execute_plan(subject)
    assert runner.last_run is not None
    kept = {path.name: json.loads(path.read_text()) for path in Path("records").glob("*/[!.]*")}
    compiled = compile_plan(subject, handled_types=list(WorkflowNodeType))
    report = f"report-{runner.last_run.flow_run_id}.json"
    assert kept.keys() == {report, *(f"{id}-{one.key}" for id, one in compiled.nodes.items())}
    assert {path.name for path in Path("records").iterdir()} == {str(runner.last_run.flow_run_id)}


async def test_a_failed_node_leaves_no_record_but_how_it_failed() -> None:
    def fail(node: WorkflowNode) -> None:
        raise ValueError("no")

    await executor(fail).execute_plan(plan(node("a")))
    kept = {path.name.split("-")[0] for path in Path("records").rglob("*") if path.is_file()}
    assert kept == {".lock", "report", "failure"}


async def test_a_plan_runs_inside_another_flow() -> None:
    runner = executor(same_keys)

    @flow
    async def outer() -> ExecutionResult:
        first = await runner.execute_plan(plan(node("a"), id="one"))
        second = await runner.execute_plan(plan(node("a"), id="two"))
        assert first.status is second.status is COMPLETED
        return second

    result = await outer()
    assert result.plan_id == "two"
    run = await flow_run_of(runner)
    assert run.parent_task_run_id is not None


async def test_plans_run_side_by_side() -> None:
    runner = executor(same_keys)
    results = await asyncio.gather(*(runner.execute_plan(plan(node("a"), id=f"p{i}")) for i in range(3)))
    assert [result.plan_id for result in results] == ["p0", "p1", "p2"]


async def test_an_empty_plan_completes() -> None:
    result = await executor().execute_plan(plan())
    assert result.status is COMPLETED
    assert (result.node_results, result.execution_groups, result.parallel_efficiency) == ({}, [], 0.0)


async def test_simulation_marks_every_result() -> None:
    subject: WorkflowPlan = load_plan(DATA / "web-feature.json").plan
    result = await WorkflowExecutor(simulate="all", storage="records").execute_plan(subject)
    assert result.status is COMPLETED
    assert all(one.result["simulated"] is True for one in result.node_results.values())
    assert result.node_results["design"].result == {
        "type": "generation",
        "description": "Write the technical design",
        "result": "Generated content for: Write the technical design",
        "parameters": {},
        "simulated": True,
    }


async def test_running_side_by_side_shows_in_the_efficiency() -> None:
    result = await executor(simulate="all").execute_plan(plan(*(node(f"n{index}") for index in range(8))))
    assert result.total_duration < sum(one.duration for one in result.node_results.values())
    assert 0 < result.parallel_efficiency == result.calculate_parallel_efficiency()


async def test_a_named_global_limit_is_held_and_must_exist() -> None:
    await api("POST", "/v2/concurrency_limits/", {"name": "one-at-a-time", "limit": 1})
    running: set[str] = set()

    async def handler(node: WorkflowNode) -> str:
        running.add(node.id)
        assert len(running) == 1
        await asyncio.sleep(0.01)
        running.remove(node.id)
        return node.id

    subject = plan(node("a"), node("b"), policy={"limits": ["one-at-a-time"]})
    assert (await executor(handler).execute_plan(subject)).status is COMPLETED
    missing = plan(node("a", policy={"limits": ["nowhere"]}), node("b"))
    result = await executor(handler).execute_plan(missing)
    assert result.node_results["a"].status is FAILED
    assert "nowhere" in str(result.node_results["a"].error)
    assert result.node_results["b"].status is COMPLETED


async def test_a_template_that_takes_too_long_ends_with_its_node_and_is_not_tried_again() -> None:
    endless = {"tool": "shout", "tool_inputs": {"text": EXHAUSTING["loop"]}}
    huge = {"tool": "shout", "tool_inputs": {"text": EXHAUSTING["center"]}}
    subject = executor(wait_recorded=True)
    result = await subject.execute_plan(
        plan(
            node("endless", parameters=endless, policy={"timeout": 0.3}),
            node("huge", parameters=huge, policy={"retries": 2, "retry_delay": 0}),
            node("fine", parameters={"tool": "shout", "tool_inputs": {"text": "x"}}),
        )
    )
    assert result.node_results["endless"].error == "timeout: the node took longer than its 0.3 s"
    assert str(result.node_results["huge"].error).startswith("tool_inputs.text: needs more than 256 MB")
    assert result.node_results["fine"].status is COMPLETED
    assert subject.last_run is not None
    asked = {"flow_runs": {"id": {"any_": [str(subject.last_run.flow_run_id)]}}}
    runs = {run["name"]: run["run_count"] for run in await api("POST", "/task_runs/filter", asked)}
    assert runs == {"endless": 1, "huge": 1, "fine": 1}
