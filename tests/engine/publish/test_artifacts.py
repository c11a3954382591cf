"""A run's artifacts, as the server has them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionStatus,
    NodeContext,
    ToolRegistry,
    ToolResult,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    tool,
)
from vibe_prefect.engine.publish import artifacts, progress_board
from vibe_prefect.engine.publish.artifacts import artifact_key
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.reporting.report import RunReport

pytestmark = pytest.mark.server
BOUND = 30.0


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


async def work(node: WorkflowNode) -> dict[str, Any]:
    if node.id.startswith("bad"):
        raise RuntimeError("<script>alert(1)</script> refused")
    return {"text": f"made {node.id}"}


async def draw(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
    target = context.workspace.output_root / f"{node.id}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (640, 400), "navy").save(target)
    return dict(context.workspace.write(target.name, target.read_bytes()))


async def of(run: WorkflowExecutor) -> dict[str, Artifact]:
    """Return the artifacts of an executor's last run, by their keys."""
    assert run.last_run is not None
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.last_run.flow_run_id]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=mine)
    return {str(artifact.key): artifact for artifact in found}


async def report_of(run: WorkflowExecutor) -> RunReport:
    assert run.last_run is not None
    id = str(run.last_run.flow_run_id)
    report = await Records(await open_store("records"), id).report(id)
    assert report is not None
    return report


async def test_a_completed_run_has_feedback_summary_and_progress() -> None:
    run = executor(work)
    await run.execute_plan(plan(node("a"), node("b", needs=["a"]), id="done"))
    found = await of(run)
    assert set(found) == {"done-outputs", "done-feedback", "done-summary", "done-progress"}
    rows = json.loads(str(found["done-feedback"].data))
    assert [(row["node"], row["status"], row["attempts"]) for row in rows] == [
        ("a", "completed", 1),
        ("b", "completed", 1),
    ]
    assert found["done-progress"].data == 100.0
    assert "2 of 2 nodes done" in str(found["done-progress"].description)
    report = await report_of(run)
    assert report.resume_command is None
    assert report.run_url is not None
    assert [one.bytes_written for one in report.nodes] == [0, 0]
    assert [one.memory_scope for one in report.nodes] == ["process", "process"]


async def test_a_failed_run_has_them_too_with_every_node_and_the_way_on() -> None:
    run = executor(work)
    hostile = node("bad", description="| <img src=x onerror=alert(1)> ](javascript:x)")
    await run.execute_plan(plan(hostile, node("after", needs=["bad"]), node("fine"), id="broken"))
    found = await of(run)
    rows = {row["node"]: row["status"] for row in json.loads(str(found["broken-feedback"].data))}
    assert rows == {"bad": "failed", "after": "skipped", "fine": "completed"}
    summary = str(found["broken-summary"].data)
    assert run.last_run is not None
    assert f"vibe-prefect resume {run.last_run.name}" in summary
    assert "<script>" not in summary
    assert "<img" not in summary
    assert "bad" in str(found["broken-progress"].description)
    assert (await report_of(run)).state == "Failed"


async def test_a_resumed_run_says_what_was_kept() -> None:
    first = executor(work)
    await first.execute_plan(plan(node("a"), node("bad"), id="again"))
    assert first.last_run is not None
    result = await first.execute_plan(
        plan(node("a"), node("bad"), id="again"), resume_from=str(first.last_run.flow_run_id)
    )
    assert {id for id, one in result.node_results.items() if one.reused} == {"a"}
    rows = json.loads(str((await of(first))["again-feedback"].data))
    assert [row["status"] for row in rows] == ["completed (reused)", "failed"]


async def test_two_runs_of_a_plan_are_one_history() -> None:
    run = executor(work)
    for _ in range(2):
        await run.execute_plan(plan(node("a"), id="history"))
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["history-summary"]))
        )
    assert len({artifact.flow_run_id for artifact in found}) == 2


async def until_placed(run: WorkflowExecutor, plan_id: str) -> dict[str, Artifact]:
    """Wait within a run until the artifacts of its end have their places, and return them."""
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        found = await of(run)
        last, first = found.get(f"{plan_id}-summary"), found.get(f"{plan_id}-outputs")
        if last is not None and first is not None and last.id < first.id:  # else the last one is created again
            return found
        await asyncio.sleep(0.02)
    return {}


async def test_artifacts_take_their_places_while_nodes_work_and_are_filled_at_the_end() -> None:
    before: dict[str, Artifact] = {}

    async def until_there(node: WorkflowNode) -> dict[str, Any]:
        before.update(await until_placed(run, "placed"))
        return {"text": "made"}

    run = executor(until_there)
    await run.execute_plan(plan(node("a"), id="placed"))
    assert run.last_run is not None
    command = f"`vibe-prefect report {run.last_run.name}` shows what it has made so far"
    assert command in str(before["placed-outputs"].data)
    assert command in str(before["placed-summary"].data)
    assert command in str(before["placed-feedback"].description)
    after = await of(run)
    assert {key: one.id for key, one in before.items()}.items() <= {key: one.id for key, one in after.items()}.items()
    assert not any(command in f"{one.data}{one.description}" for one in after.values())
    assert "made" in str(after["placed-outputs"].data)


async def test_place_whose_creation_got_no_answer_is_found_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    created, create = asyncio.Event(), artifacts.create_ordered

    async def create_without_answer(*arguments: Any) -> Any:
        id = await create(*arguments)
        if not created.is_set():
            created.set()
            monkeypatch.setattr(artifacts, "BOUND_SECONDS", BOUND)
            await asyncio.Event().wait()
        return id

    async def until_created(node: WorkflowNode) -> dict[str, Any]:
        await asyncio.wait_for(created.wait(), BOUND)
        return {"text": "made"}

    monkeypatch.setattr(artifacts, "create_ordered", create_without_answer)
    monkeypatch.setattr(artifacts, "BOUND_SECONDS", 5.0)
    run = executor(until_created)
    await run.execute_plan(plan(node("a"), id="unanswered"))
    assert run.last_run is not None
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.last_run.flow_run_id]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=mine)
    kinds = ("outputs", "feedback", "summary", "progress")
    assert sorted(str(one.key) for one in found) == sorted(f"unanswered-{kind}" for kind in kinds)
    assert not any("Shown when all nodes have ended" in f"{one.data}{one.description}" for one in found)


async def test_place_of_outputs_is_given_back_where_the_run_made_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None: ...

    monkeypatch.setattr(artifacts, "output_page", nothing)

    async def until_there(node: WorkflowNode) -> dict[str, Any]:
        assert "empty-outputs" in await until_placed(run, "empty")
        return {}

    run = executor(until_there)
    await run.execute_plan(plan(node("a"), id="empty"))
    assert set(await of(run)) == {"empty-feedback", "empty-summary", "empty-progress"}


async def test_progress_moves_while_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_board, "INTERVAL_SECONDS", 0.02)
    seen: set[float] = set()

    async def until_seen(node: WorkflowNode) -> dict[str, Any]:
        wanted = {"a": 0.0, "b": 50.0}[node.id]
        end = time.monotonic() + BOUND
        while wanted not in seen and time.monotonic() < end:
            shown = (await of(run)).get("moving-progress")
            seen.update([] if shown is None else [float(str(shown.data))])
            await asyncio.sleep(0.02)
        return {}

    run = executor(until_seen)
    result = await run.execute_plan(plan(node("a"), node("b", needs=["a"]), id="moving"))
    assert result.status is ExecutionStatus.COMPLETED
    assert seen == {0.0, 50.0}
    assert (await of(run))["moving-progress"].data == 100.0


async def test_progress_says_how_long_the_run_still_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_board, "INTERVAL_SECONDS", 0.02)
    notes: list[str] = []

    async def until_shown(node: WorkflowNode) -> dict[str, Any]:
        end = time.monotonic() + BOUND
        while not any("left" in note for note in notes) and time.monotonic() < end:
            shown = (await of(run)).get("timed-progress")
            notes.extend([] if shown is None else [str(shown.description)])
            await asyncio.sleep(0.02)
        return {}

    run = executor(until_shown)
    await run.execute_plan(plan(node("a", estimated_duration=900), node("b", estimated_duration=900), id="timed"))
    assert re.search(r"0 of 2 nodes done, about 1[45] min \d\d s left", notes[-1])
    assert "left" not in str((await of(run))["timed-progress"].description)


async def test_outputs_are_shown_with_small_pictures() -> None:
    run = executor(draw)
    await run.execute_plan(plan(node("one"), node("two"), id="pictures"))
    page = str((await of(run))["pictures-outputs"].data)
    assert page.count("](data:image/jpeg;base64,") == 2
    report = await report_of(run)
    assert run.last_run is not None
    assert report.nodes[0].bytes_written == (run.last_run.output_root / "one.png").stat().st_size


async def test_they_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    off = executor(work, artifacts=False)
    await off.execute_plan(plan(node("a"), id="off"))
    assert await of(off) == {}
    assert (await report_of(off)).status is ExecutionStatus.COMPLETED
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_ARTIFACTS", "false")
    by_setting = executor(work)
    await by_setting.execute_plan(plan(node("a"), id="off"))
    assert await of(by_setting) == {}


@tool
async def gate() -> ToolResult:
    """Judge and refuse."""
    usage = {"input_tokens": 7, "output_tokens": 2, "cost_usd": 0.25}
    told = {"quality": 0.4, "evidence": ["it says: maybe"], "usage": usage, "retryable": False}
    return ToolResult(False, None, told, "below 0.8")


async def test_a_failed_gate_tells_quality_evidence_and_what_it_cost() -> None:
    async def asks_twice(node: WorkflowNode, context: NodeContext) -> Any:
        with contextlib.suppress(RuntimeError):
            await context.call_tool("gate", {})
        return await context.call_tool("gate", {})

    run = WorkflowExecutor(tool_registry=ToolRegistry([gate]), storage="records")
    run.node_handlers[WorkflowNodeType.ANALYZE] = asks_twice
    await run.execute_plan(
        plan(node("gate", "validate", parameters={"tool": "gate"}), node("twice", "analyze"), id="gated")
    )
    nodes = (await report_of(run)).by_id
    judged, twice = nodes["gate"], nodes["twice"]
    assert (judged.status, judged.quality, judged.evidence) == (ExecutionStatus.FAILED, 0.4, ("it says: maybe",))
    assert (judged.input_tokens, judged.output_tokens, judged.cost_usd) == (7, 2, 0.25)
    assert (twice.input_tokens, twice.output_tokens, twice.cost_usd) == (14, 4, 0.5)


def test_keys_are_stable_and_do_not_collide() -> None:
    assert artifact_key("news-digest", "summary") == "news-digest-summary"
    assert artifact_key("news_digest", "summary") == artifact_key("news_digest", "summary")
    ids = ["news-digest", "news_digest", "news.digest", "News-digest", "n" * 150, "n" * 151, "n" * 152]
    keys = {artifact_key(id, "summary") for id in ids}
    assert len(keys) == len(ids)
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for key in keys)
