"""Runs that are adapted: attempts, what each executes, the budget over all of them, and when they end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from tests.plans import node, plan
from tests.replanning.runs import EXECUTED, REUSED, STRONG, WEAK, Sluggish, answer, poor_plan, tools_of
from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNodeType
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.replanning.adaptation import GOOD, NO_BETTER, NO_BUDGET, NO_EDIT, NOT_SUGGESTED, REPLANNED, USED_UP
from vibe_prefect.testing import RecordingTool, ScriptedModel, verdict

pytestmark = pytest.mark.server

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def executor(tools: Any, **options: Any) -> WorkflowExecutor:
    return WorkflowExecutor(tool_registry=tools, simulate="never", **options)


async def outcomes(subject: WorkflowExecutor) -> list[str]:
    """The outcome of each attempt, by the report that the last one left."""
    assert subject.last_run is not None
    report = await load_report(subject.last_run.name)
    return [attempt.outcome for attempt in report.attempts]


async def artifact(key: str) -> str:
    """The newest artifact of a key."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
        )
    return str(found[0].data)


@pytest.mark.parametrize("by", ["rule", "model"])
async def test_adaptation_resumes_with_an_edited_plan_until_it_is_good(by: str) -> None:
    subject = executor(tools_of(ScriptedModel(answer)), replan_by=by)
    result = await subject.execute_with_adaptation(poor_plan())
    assert result.status is COMPLETED
    assert {id for id, one in result.node_results.items() if one.reused} == REUSED
    assert await outcomes(subject) == [REPLANNED, GOOD]
    assert subject.last_run is not None
    assert subject.last_run.report is not None
    page = await artifact("poor-attempts")
    assert (
        f"| 2 | {subject.last_run.name} | ✓ completed | 1.00 | {len(EXECUTED)} | {len(REUSED)} | 0 |"
        in page.replace("\\", "")
    )
    first, second = subject.last_run.report.attempts
    assert (first.failed, second.executed, second.reused) == (2, len(EXECUTED), len(REUSED))
    assert first.quality < second.quality == 1.0
    assert any(line.startswith("slow policy.timeout: 1.0 -> ") for line in second.differences)
    assert any("'lively'" in line or "it was dull" in line for line in second.changes)


def gated(threshold: float = 0.9) -> Any:
    """A text and its gate."""
    inputs = {"criteria": ["lively"], "threshold": threshold}
    return plan(
        node("post", parameters={"tool": "llm_generate", "tool_inputs": {"prompt": "Write post", "max_tokens": 50}}),
        node("gate", "validate", needs=["post"], parameters={"tool": "judge", "tool_inputs": inputs}),
    )


def scored(*scores: float) -> ScriptedModel:
    """A model that judges with one score after the other."""
    left = list(scores)

    def reply(question: Question) -> str:
        return WEAK if question.schema is None else verdict({"lively": left.pop(0)}, WEAK[:20])

    return ScriptedModel(reply, max_tokens=500)


async def test_adaptation_ends_when_an_attempt_is_no_better() -> None:
    subject = executor(scored(0.4, 0.4, 1.0).registry, adapt=5)
    assert (await subject.execute_plan(gated())).status is FAILED
    assert await outcomes(subject) == [REPLANNED, NO_BETTER]


async def test_adaptation_ends_when_the_attempts_are_used_up() -> None:
    subject = executor(scored(0.2, 0.4, 0.6, 1.0).registry, adapt=2)
    assert (await subject.execute_plan(gated())).status is FAILED
    assert await outcomes(subject) == [REPLANNED, REPLANNED, USED_UP]


async def test_adaptation_ends_where_nothing_can_be_changed() -> None:
    tools = ScriptedModel().registry
    tools.register(RecordingTool("broken", error="no such luck"))
    subject = executor(tools, adapt=2)
    await subject.execute_plan(plan(node("a", parameters={"tool": "broken"})))
    assert await outcomes(subject) == [NO_EDIT]


async def test_adaptation_ends_where_no_failure_suggests_another_plan() -> None:
    def broken(node: Any) -> None:
        raise ValueError("a fault of the handler")

    subject = executor(ScriptedModel().registry, adapt=2)
    subject.node_handlers[WorkflowNodeType.GENERATE] = broken
    await subject.execute_plan(plan(node("a")))
    assert await outcomes(subject) == [NOT_SUGGESTED]


async def test_budget_holds_over_all_attempts_together() -> None:
    model = scored(0.2, 0.4, 0.6, 0.7, 0.8, 1.0)
    subject = executor(model.registry, adapt=5, max_tokens=2_000)
    assert (await subject.execute_plan(gated())).status is FAILED
    assert (await outcomes(subject))[-1] == NO_BUDGET
    assert subject.last_run is not None
    assert subject.last_run.report is not None
    spent = [attempt.tokens or 0 for attempt in subject.last_run.report.attempts]
    assert len(spent) > 1
    assert sum(spent) <= 2_000


async def test_a_good_run_is_one_attempt() -> None:
    subject = executor(ScriptedModel([STRONG, verdict({"lively": 1.0}, STRONG)]).registry, adapt=3)
    assert (await subject.execute_plan(gated())).status is COMPLETED
    assert await outcomes(subject) == [GOOD]


async def test_plans_side_by_side_are_each_adapted() -> None:
    begun: list[str] = []
    both = asyncio.Event()

    async def late_once(node: Any) -> dict[str, str]:
        begun.append(node.id)
        if len(set(begun)) == 2:
            both.set()
        if begun.count(node.id) == 1:
            await both.wait()
            raise TimeoutError("timeout")
        return {"result": "A long enough text."}

    subject = executor(ScriptedModel().registry, adapt=1)
    subject.node_handlers[WorkflowNodeType.GENERATE] = late_once
    plans = [plan(node(id, policy={"timeout": 120.0}), id=f"plan-{id}") for id in ("a", "b")]
    results = await asyncio.gather(*(subject.execute_plan(one) for one in plans))
    assert [result.status for result in results] == [COMPLETED, COMPLETED]
    assert sorted(begun) == ["a", "a", "b", "b"]


async def test_setting_says_which_quality_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_REPLAN_BELOW", "0.75")
    result = await executor(scored(0.72).registry).execute_plan(gated(0.5))
    assert (result.status, [one["node_id"] for one in result.replan_suggestions]) == (COMPLETED, ["gate"])


async def test_executor_replans_its_last_run() -> None:
    subject = executor(tools_of(ScriptedModel(answer), Sluggish()))
    result = await subject.execute_plan(poor_plan())
    edited = await subject.replan(result)
    assert {edit.node_id for edit in edited.edits} == {"post", "draft", "slow"}
    assert edited.plan.root_nodes[0] == poor_plan().root_nodes[0]
