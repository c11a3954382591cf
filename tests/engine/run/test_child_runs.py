"""Composites at placements of the kind `deployment`. The worker here is a task of this process."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.flow_engine import run_flow_async
from prefect.states import Crashed

from tests.plans import node, plan
from vibe_prefect import (
    ExecutionStatus,
    ProgressEvent,
    UsageError,
    WorkflowExecutor,
    WorkflowPlan,
    compile_plan,
    default_registry,
    run_plan,
)
from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.engine import flow
from vibe_prefect.engine.deploy.deployments import PlanDeployment, ensure_pool
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.engine.placements import deployment
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.engine.runs.resume_target import newest_run
from vibe_prefect.plan.branches import branch_problems, branch_waits, branches, outside
from vibe_prefect.plan.selection import Choice
from vibe_prefect.settings.package import variable

POOL = "elsewhere"
COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED

TOOLS = '''
from pathlib import Path
from vibe_prefect import FileRef, Spending, ToolContext, ToolError, ToolResult, paid_call, tool

def called(name: str) -> int:
    log = Path("calls.txt")
    with log.open("a") as file:
        file.write(f"{name}\\n")
    return log.read_text().splitlines().count(name)

@tool(version="1")
def say(text: str) -> dict[str, str]:
    """Say a text."""
    called(text)
    return {"text": text}

@tool(version="1")
def draw(text: str, context: ToolContext) -> FileRef:
    """Draw a picture."""
    called(text)
    return context["workspace"].write(f"{text}.txt", text.encode())

@tool(version="1")
def shaky(text: str) -> dict[str, str]:
    """Fail at first."""
    if called(text) == 1:
        raise ToolError("not yet")
    return {"text": text}

@tool(version="1")
def broken(text: str) -> dict[str, str]:
    """Fail."""
    called(text)
    raise ToolError("out of order")

@tool(version="1")
async def buy(text: str, context: ToolContext) -> ToolResult:
    """Pay a dollar."""
    async with paid_call(context.get("budget"), Spending(usd=1.0)) as charge:
        called(text)
        charge.used = Spending(usd=1.0)
    return ToolResult(success=True, output={"text": text}, metadata={"usage": {"cost_usd": 1.0}})
'''


def of(id: str, tool: str, *needs: str, **fields: Any) -> Any:
    inputs = {"text": f"{id}{{{{ outputs.{needs[0]}.text }}}}" if needs and tool != "draw" else id}
    return node(id, parameters={"tool": tool, "tool_inputs": inputs}, needs=list(needs), **fields)


def at_the_farm(id: str, *children: Any, needs: list[str] | None = None, **policy: Any) -> Any:
    return node(id, "composite", needs=needs, children=list(children), policy={"run_on": "farm", **policy})


@dataclass
class Station:
    """A worker within this process."""

    client: PrefectClient
    deployment: UUID
    crashes: int = 0
    """Number of runs whose process is to die at once."""
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it takes runs."""
    _runs: dict[UUID, asyncio.Task[Any]] = field(default_factory=dict[UUID, "asyncio.Task[Any]"])

    async def work(self) -> None:
        due = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        of_ours = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[self.deployment]), state=due)
        while await self.awake.wait():
            for found in await self.client.read_flow_runs(flow_run_filter=of_ours):
                if found.id not in self._runs:
                    self._runs[found.id] = asyncio.create_task(self._run(found))
            await asyncio.sleep(0.05)

    async def _run(self, found: FlowRun) -> None:
        if self.crashes:
            self.crashes -= 1
            await self.client.set_flow_run_state(found.id, Crashed(message="the machine is gone"), force=True)
            return
        await run_flow_async(run_plan, flow_run=found, parameters=found.parameters, return_type="state")

    async def children(self) -> list[FlowRun]:
        """The runs that were started here, first to last."""
        return sorted([await self.client.read_flow_run(id) for id in self._runs], key=lambda run: str(run.start_time))


@pytest.fixture
async def farm(prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Station]:
    (folder / "tools.py").write_text(TOOLS)
    monkeypatch.setattr(flow, "end_with_main_thread", lambda: None)  # this process is not the run's own
    placement = {"kind": "deployment", "deployment": f"run-plan/{folder.name}", "shares_files": True}
    monkeypatch.setenv(variable("placements"), json.dumps({"farm": placement}))
    monkeypatch.setenv(variable("tools"), str(folder / "tools.py"))
    monkeypatch.setenv(variable("storage"), str(folder / "records"))
    async with get_client() as client:
        await ensure_pool(client, POOL)
        deployed = PlanDeployment(folder.name, "a place for others", plan(id="any").model_dump(mode="json"))
        built = deployed.build_for(POOL, folder)
        async with running(Station(client, await built.aapply())) as station:
            station.awake.set()
            yield station


@asynccontextmanager
async def running(station: Station) -> AsyncGenerator[Station]:
    work = asyncio.create_task(station.work())
    yield station
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


def calls() -> Counter[str]:
    log = Path("calls.txt")
    return Counter(log.read_text().splitlines() if log.exists() else ())


def executor(**options: Any) -> WorkflowExecutor:
    return WorkflowExecutor(tool_registry=configured_registry(), simulate="never", **options)


async def edges(client: PrefectClient, run: WorkflowExecutor, ids: set[str]) -> set[tuple[str, str]]:
    assert run.last_run is not None
    path = {"id": run.last_run.flow_run_id}
    graph = (await client.request("GET", "/flow_runs/{id}/graph-v2", path_params=path)).json()
    names = {entry[0]: entry[1]["label"] for entry in graph["nodes"]}
    return {
        (names[parent["id"]], entry[1]["label"])
        for entry in graph["nodes"]
        for parent in entry[1]["parents"]
        if entry[1]["label"] in ids
    }


def shape(value: Any) -> Any:
    """The keys of feedback, with the types of its values."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return type(value).__name__


def everything(place: str | None) -> WorkflowPlan:
    """A plan with each kind of end that a node can have, below a composite at a placement."""
    items: dict[str, Any] = {"for_each": "{{ ['sun', 'moon'] }}", "as": "shot", "key": "{{ shot }}"}
    shot = node("shot", parameters={"tool": "draw", "tool_inputs": {"text": "{{ shot }}"}})
    scene = node(
        "scene",
        "composite",
        needs=["before"],
        policy={"run_on": place} if place else {},
        children=[
            of("picture", "draw"),
            of("shaky", "shaky", "before", policy={"retries": 1}),
            of("broken", "broken"),
            of("behind", "say", "broken"),
            of("saved", "broken", on_error={"value": {"text": "instead"}}),
            of("unmet", "say", when="{{ outputs.before.text == 'nothing' }}", dependencies=["before"]),
            node("shots", "composite", children=[shot], **items),
            of("late", "say", "aside"),
        ],
    )
    return plan(of("before", "say"), of("aside", "say"), scene, of("after", "say", "shaky"), id="everything")


@pytest.mark.server
async def test_a_composite_at_a_deployment_ends_as_it_does_here(farm: Station) -> None:
    local_events: list[ProgressEvent] = []
    here = executor(progress_callback=local_events.append)
    expected = await here.execute_plan(everything(None))
    Path("calls.txt").unlink()
    events: list[ProgressEvent] = []
    away = executor(progress_callback=events.append)
    result = await away.execute_plan(everything("farm"))
    (child,) = await farm.children()
    assert away.last_run is not None
    assert child.name == f"{away.last_run.name}-scene"
    assert child.state_name == "Failed"
    for id, node_result in expected.node_results.items():
        found = result.node_results[id]
        assert (found.status, found.result, found.error) == (node_result.status, node_result.result, node_result.error)
    assert shape(result.feedback_data) == shape(expected.feedback_data)
    assert result.execution_groups == expected.execution_groups
    assert Counter((one.event_type, one.node_id) for one in events) == Counter(
        (one.event_type, one.node_id) for one in local_events
    )
    reports = [await load_report(run.last_run.name) for run in (here, away) if run.last_run is not None]
    assert [one.key for one in reports[0].nodes] == [one.key for one in reports[1].nodes]
    assert [one.files for one in reports[0].nodes] == [one.files for one in reports[1].nodes]
    ids = set(expected.node_results)
    end = time.monotonic() + 60.0
    while (drawn := [await edges(farm.client, run, ids) for run in (here, away)])[0] != drawn[1]:
        assert time.monotonic() < end, drawn  # the server records task runs a while after they end
        await asyncio.sleep(0.1)
    assert ("before", "shaky") in drawn[0]
    assert (await newest_run(farm.client)).name == away.last_run.name
    before = calls()
    again = executor()
    resumed = await again.execute_plan(everything("farm"), resume_from=away.last_run.name)
    assert resumed.ids(FAILED) == result.ids(FAILED)
    assert calls() - before == Counter(["broken", "saved"])


@pytest.mark.server
async def test_a_lost_child_run_is_a_failed_attempt_of_the_composite(
    farm: Station, caplog: pytest.LogCaptureFixture
) -> None:
    farm.crashes = 1
    lost = executor()
    result = await lost.execute_plan(plan(at_the_farm("scene", of("a", "say"), of("b", "say", "a")), of("c", "say")))
    assert {id: one.status for id, one in result.node_results.items()} == {
        "scene": FAILED,
        "a": SKIPPED,
        "b": SKIPPED,
        "c": COMPLETED,
    }
    error = result.node_results["scene"].error or ""
    assert error.endswith("-scene' at 'farm' crashed: the machine is gone")
    assert f"What runs at the placement 'farm' will wait: no worker of the pool '{POOL}' is online" in caplog.text
    farm.crashes = 1
    policy: dict[str, Any] = {"retries": 1, "retry_delay": 0}
    subject = plan(at_the_farm("scene", of("a", "say"), of("b", "say", "a"), **policy), of("c", "say"))
    assert lost.last_run is not None
    again = executor()
    result = await again.execute_plan(subject, resume_from=lost.last_run.name)
    assert result.status is COMPLETED
    assert calls() == Counter(["a", "ba", "c"])
    assert again.last_run is not None
    names = [child.name for child in await farm.children()]
    assert names[-2:] == [f"{again.last_run.name}-scene", f"{again.last_run.name}-scene-2"]


@pytest.mark.server
async def test_a_child_run_that_no_worker_takes_is_told_once_and_begins_when_one_does(
    farm: Station, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "IDLE_SECONDS", 0.1)
    farm.awake.clear()
    running = asyncio.create_task(executor().execute_plan(plan(at_the_farm("scene", of("a", "say")))))
    told = "No worker has taken scene at 'farm' for"
    async with asyncio.timeout(120):
        while told not in caplog.text and not running.done():  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.05)
        assert not running.done()
        farm.awake.set()
        result = await running
    assert result.status is COMPLETED
    assert caplog.text.count(told) == 1
    assert f"no worker of the pool '{POOL}' is online" in caplog.text.split(told)[1]


@pytest.mark.server
async def test_a_child_run_spends_what_is_left_of_the_budget(farm: Station) -> None:
    scene = at_the_farm("scene", of("b", "buy"), of("c", "buy", "b"), of("d", "buy", "c"), needs=["a"])
    subject = plan(of("a", "buy"), scene, of("e", "buy", "b"))
    run = executor(budget_usd=3.5)
    result = await run.execute_plan(subject)
    assert result.ids(FAILED) == ("d", "e")
    assert run.last_run is not None
    for id in ("d", "e"):
        error = result.node_results[id].error or ""
        assert "budget: stopped before the next paid call: 3 of 3.5 USD are spent" in error
        assert f"vibe-prefect resume {run.last_run.name} " in error
    assert (await load_report(run.last_run.name)).totals.cost_usd == 3.0
    more = executor(budget_usd=5.0)
    result = await more.execute_plan(subject, resume_from=run.last_run.name)
    assert result.status is COMPLETED
    assert calls() == Counter(["a", "b", "cb", "dcb", "eb"])


@pytest.mark.server
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"shares_files": False},
            "which the placement 'farm' may not see: set PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE",
        ),
        ({"deployment": "run-plan/nowhere"}, "the placement 'farm': this Prefect server has no deployment"),
    ],
)
async def test_a_deployment_that_cannot_be_used_is_refused_before_anything_runs(
    farm: Station, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], expected: str
) -> None:
    placement = {"kind": "deployment", "deployment": f"run-plan/{Path.cwd().name}", "shares_files": True, **changed}
    monkeypatch.setenv(variable("placements"), json.dumps({"farm": placement}))
    with pytest.raises(UsageError, match=re.escape(expected)):
        await executor().execute_plan(plan(of("first", "say"), at_the_farm("scene", of("a", "say"))))
    assert not calls()


@pytest.mark.server
async def test_a_child_run_with_other_tools_than_its_parent_makes_nothing(
    farm: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = executor()
    other = Path("tools.py").read_text().replace('version="1"', 'version="2"')
    Path("others.py").write_text(other)
    monkeypatch.setenv(variable("tools"), str(Path("others.py").resolve()))
    result = await run.execute_plan(plan(at_the_farm("scene", of("a", "say"))))
    error = result.node_results["scene"].error or ""
    assert "did not run: nothing was run: the tools of this machine are not those" in error
    assert "would not be found there: a;" in error
    assert not calls()


def test_a_branch_begins_when_all_is_there_that_its_nodes_wait_for() -> None:
    subject = compile_plan(everything("farm"), simulate="all")
    (branch,) = branches(subject, ["farm"])
    assert branch.root == "scene"
    assert set(branch.members) == {"scene", *subject.graph.below("scene")}
    assert outside(subject.graph, branch) == ("before", "aside")
    assert list(branch_problems(subject, [branch])) == []
    waits = branch_waits(subject.graph.waits, subject.graph, [branch])
    assert set(waits["scene", False]) == {("before", False), ("aside", False)}
    assert set(branches(subject, ["farm"], run_on="local")) == set()
    assert [one.root for one in branches(subject, ["farm"], run_on="farm")] == ["before", "aside", "scene", "after"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            [at_the_farm("scene", node("ok", parameters={"tool": "approve"}, needs=["a"])), node("a", "composite")],
            "node 'ok': a person cannot be asked at the placement 'farm', where it would run; move the node out",
        ),
        (
            [at_the_farm("scene", node("a", "composite", policy={"run_on": "local"}))],
            "node 'a', policy.run_on: 'local' is not possible here: 'scene' and all below it run at the placement",
        ),
        (
            [at_the_farm("scene", node("a", "composite", policy={"cache": "disable"}))],
            "node 'a', policy.cache: 'scene' runs at the placement 'farm', and results pass by way of their records",
        ),
        (
            [
                at_the_farm("scene", node("a", "composite"), node("c", "composite", needs=["b"])),
                node("b", "composite", needs=["a"]),
            ],
            "node 'scene', policy.run_on: it runs at the placement 'farm' with all below it, in one run, and 'b' would",
        ),
    ],
)
def test_a_branch_that_cannot_run_as_a_whole_is_a_problem_of_the_plan(nodes: list[Any], expected: str) -> None:
    subject = compile_plan(plan(*nodes), tools=default_registry())
    (problem,) = branch_problems(subject, list(branches(subject, ["farm"])))
    assert str(problem).startswith(expected)


async def test_the_rest_of_a_budget_is_reserved_once_no_call_is_under_way() -> None:
    budget = Budget(usd=3.0, tokens=100, spent=Spending(10, 1.0))
    call = await budget.reserve(Spending(20, 0.5))
    rest = asyncio.create_task(budget.reserve_rest())
    await asyncio.sleep(0)
    assert not rest.done()
    call.settle(Spending(5, 0.25))
    assert (await rest).most == Spending(85, 1.75)
    (await rest).settle(Spending(1, 0.5))
    assert budget.spent == Spending(16, 1.75)


@pytest.mark.server
async def test_a_list_that_nobody_knew_before_and_a_selection_of_it_run_at_a_deployment(farm: Station) -> None:
    shot = node("shot", parameters={"tool": "draw", "tool_inputs": {"text": "{{ shot }}"}})
    items = {"for_each": "{{ outputs.title.text.split(' ') }}", "as": "shot", "key": "{{ shot }}"}
    shots = node(
        "shots", "composite", needs=["title"], children=[shot], policy={"run_on": "farm", "cache": "default"}, **items
    )
    title = node("title", parameters={"tool": "say", "tool_inputs": {"text": "sun moon"}})
    subject = plan(title, shots, of("end", "say", "title"))
    first = executor()
    result = await first.execute_plan(subject, choice=Choice(select="title shots shot"))
    assert result.ids(COMPLETED) == ("title", "shots", "shots.sun.shot", "shots.moon.shot")
    assert first.last_run is not None
    again = executor()
    choice = Choice(refresh="shots.moon.shot")
    result = await again.execute_plan(subject, resume_from=first.last_run.name, choice=choice)
    assert result.status is COMPLETED
    assert calls() == Counter({"sun moon": 1, "sun": 1, "moon": 2, "endsun moon": 1})
