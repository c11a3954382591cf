"""Nodes that run in other processes of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.placements import remote_tools
from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    RunObserver,
    Tool,
    ToolRegistry,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
    default_registry,
    tool,
)
from vibe_prefect.errors import PlanError, UsageError
from vibe_prefect.operations import validate

pytestmark = pytest.mark.server

PLACEMENTS = "PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS"
BOUND = 90.0


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here has the server, an empty folder to work in, and the placement `side`."""
    monkeypatch.setenv(PLACEMENTS, json.dumps({"side": {"kind": "process", "workers": 2}}))


def toolset() -> ToolRegistry:
    registry = default_registry()
    for value in vars(remote_tools).values():
        if isinstance(value, Tool) and not isinstance(value, type):
            registry.register(value)
    return registry


def run_on_side(**options: Any) -> WorkflowExecutor:
    given: dict[str, Any] = {"run_on": "side", "tool_registry": toolset(), **options}
    return executor(None, **given)


def calls(id: str, tool_name: str, inputs: dict[str, Any] | None = None, **fields: Any) -> WorkflowNode:
    return node(id, "transform", parameters={"tool": tool_name, "tool_inputs": inputs or {}}, **fields)


def story() -> WorkflowPlan:
    """A plan with a file, a template, a list, a handler's node, a failing node and one that is skipped after it."""
    each: dict[str, Any] = {"for_each": "{{ ['x', 'y'] }}", "as": "shot"}
    return plan(
        calls("a", "shout", {"text": "hello"}),
        calls("b", "shout", {"text": "{{ outputs.a.text }} again"}, needs=["a"]),
        calls("file", "note_file", {"name": "card"}),
        node("own", "analyze", needs=["b"]),
        calls("bad", "refuse", {"text": "no"}),
        calls("after", "shout", {"text": "x"}, needs=["bad"]),
        node(
            "list",
            "composite",
            **each,
            children=[calls("each", "shout", {"text": "{{ shot }}"})],
        ),
    )


def told(result: ExecutionResult) -> dict[str, Any]:
    """All of a result that does not speak of time, memory or the run."""
    return {
        id: (one.status, one.result, one.error, sorted(result.feedback_data.get(id, {})))
        for id, one in result.node_results.items()
    }


async def test_a_plan_ends_the_same_in_other_processes(folder: Path) -> None:
    results: dict[str, ExecutionResult] = {}
    for place in ("local", "side"):
        subject = run_on_side(run_on=place, output=folder / place, storage=folder / f"records-{place}")
        subject.node_handlers[WorkflowNodeType.ANALYZE] = remote_tools.echo
        results[place] = await subject.execute_plan(story())
        assert results[place].node_results["own"].result == {"text": "DO OWN", "given": ["b"]}
    assert told(results["side"]) == told(results["local"])
    assert results["side"].node_results["list"].status is ExecutionStatus.COMPLETED
    assert [path.read_text() for path in (folder / "side").rglob("card.txt")] == ["card"]


async def test_the_work_is_done_elsewhere_and_the_policy_is_inherited() -> None:
    inherits = node("group", "composite", policy={"run_on": "side"}, children=[calls("inner", "where")])
    stays = calls("stays", "where", policy={"run_on": "local"})
    result = await run_on_side(run_on=None).execute_plan(plan(inherits, stays, calls("plain", "where")))
    processes = {id: result.node_results[id].result["result"]["process"] for id in ("inner", "stays", "plain")}
    assert processes["stays"] == processes["plain"] == os.getpid()
    assert processes["inner"] != os.getpid()


async def test_a_worker_that_dies_is_a_failed_attempt_of_its_node_alone(folder: Path) -> None:
    dies = calls("dies", "die_once", {"folder": str(folder)}, policy={"retries": 1, "retry_delay": 0})
    others = [calls(f"n{index}", "where") for index in range(4)]
    result = await run_on_side().execute_plan(plan(dies, *others))
    assert result.status is ExecutionStatus.COMPLETED
    assert result.feedback_data["dies"]["resource_usage"]["attempts"] == 2
    assert [result.feedback_data[other.id]["resource_usage"]["attempts"] for other in others] == [1] * 4
    provenance = result.node_results["dies"].provenance
    assert provenance is not None
    lost, ended = provenance.attempts
    assert "SIGKILL" in str(lost.error)
    assert (lost.place, ended.place) == ("side", f"side ({socket.gethostname()})")


async def test_a_worker_that_ended_between_two_works_costs_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLACEMENTS, json.dumps({"side": {"kind": "process", "workers": 1}}))
    ends = calls("ends", "end_process", {"process": "{{ outputs.first.process }}"}, needs=["first"])
    here = ends.model_copy(update={"policy": ends.policy.model_copy(update={"run_on": "local"})})
    subject = run_on_side(run_on=None)
    policy: dict[str, Any] = {"run_on": "side"}
    result = await subject.execute_plan(
        plan(calls("first", "where", policy=policy), here, calls("then", "where", needs=["ends"], policy=policy))
    )
    assert result.status is ExecutionStatus.COMPLETED, [one.error for one in result.node_results.values()]
    first, then = (result.node_results[id].result["result"]["process"] for id in ("first", "then"))
    assert first != then


async def test_a_budget_holds_for_tools_that_state_no_cost() -> None:
    nodes = [calls(f"n{index}", "pay", {"usd": 0.4}) for index in range(3)]
    result = await run_on_side(budget_usd=1.0).execute_plan(plan(*nodes))
    statuses = [one.status for one in result.node_results.values()]
    assert sorted(statuses, key=str) == [ExecutionStatus.COMPLETED] * 2 + [ExecutionStatus.FAILED]
    assert "budget: stopped before the next paid call" in str([one.error for one in result.node_results.values()])


async def test_a_lost_worker_costs_what_was_reserved_for_it(folder: Path) -> None:
    dies = calls("dies", "pay_and_die", {"folder": str(folder)}, policy={"retries": 1, "retry_delay": 0})
    after = calls("after", "pay", {"usd": 0.6}, needs=["dies"])
    result = await run_on_side(budget_usd=2.0).execute_plan(plan(dies, after))
    assert result.node_results["dies"].status is ExecutionStatus.COMPLETED
    assert "budget: stopped before the next paid call" in str(result.node_results["after"].error)


async def test_an_error_that_cannot_be_sent_keeps_its_kind_and_text() -> None:
    result = await run_on_side().execute_plan(plan(calls("odd", "fail_oddly")))
    feedback = result.feedback_data["odd"]
    assert (feedback["error_type"], feedback["error_message"]) == ("OddError", "very odd")


async def test_progress_is_heard_and_a_cancelled_run_stops_the_work(folder: Path) -> None:
    heard = asyncio.Event()

    class Hearer(RunObserver):
        def node_progressed(self, node: WorkflowNode, fraction: float | None, message: str) -> None:
            if (node.id, fraction, message) == ("stays", 0.5, "held"):
                heard.set()

    subject = run_on_side(observers=[Hearer()])
    run = asyncio.ensure_future(subject.execute_plan(plan(calls("stays", "hold", {"folder": str(folder)}))))
    await asyncio.wait_for(heard.wait(), BOUND)
    process = psutil.Process(int((folder / "held").read_text()))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    process.wait(BOUND)


async def test_a_timeout_stops_the_work_and_does_not_count_the_start_of_a_worker(folder: Path) -> None:
    held = calls("held", "hold", {"folder": str(folder)}, policy={"timeout": 0.3})
    result = await run_on_side().execute_plan(plan(held, calls("quick", "where", policy={"timeout": 30})))
    assert "timeout" in str(result.node_results["held"].error)
    assert result.node_results["quick"].status is ExecutionStatus.COMPLETED
    psutil.wait_procs([psutil.Process(int((folder / "held").read_text()))] if _is_alive(folder) else [], BOUND)
    assert not _is_alive(folder)


def _is_alive(folder: Path) -> bool:
    return psutil.pid_exists(int((folder / "held").read_text()))


async def test_a_tool_that_another_process_cannot_import_is_named() -> None:
    @tool(version="1")
    def hidden() -> None:
        """Do nothing."""

    subject = run_on_side()
    assert isinstance(subject.tool_registry, ToolRegistry)
    subject.tool_registry.register(hidden)
    result = await subject.execute_plan(plan(calls("a", "hidden")))
    error = str(result.node_results["a"].error)
    assert "cannot be sent to the placement 'side'" in error
    assert "the tool 'hidden' has no name at the top of the module" in error


def test_an_unknown_placement_is_a_problem_of_the_plan(folder: Path) -> None:
    node_text = "{id: a, type: composite, description: d, policy: {run_on: sid}}"
    (folder / "p.yaml").write_text(f"id: p\nsource_vibe: {{description: x}}\nroot_nodes:\n- {node_text}\n")
    with pytest.raises(PlanError) as raised:
        validate(folder / "p.yaml")
    (problem,) = raised.value.problems
    assert str(replace(problem, position=None)) == (
        "node 'a', policy.run_on: unknown placement 'sid'; did you mean 'side'?; the setting "
        "PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS says where nodes may run"
    )
    assert problem.position is not None
    assert problem.position.line == 4


async def test_a_run_on_an_unknown_placement_runs_nothing() -> None:
    with pytest.raises(UsageError, match="run_on: unknown placement 'moon'; placements: local, side"):
        await run_on_side(run_on="moon").execute_plan(plan(calls("a", "where")))
