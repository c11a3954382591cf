"""Dask and Ray as placements, each on a cluster of this machine, beside the process of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.placements.cluster_tools import cluster_tools
from tests.engine.placements.clusters import needs
from tests.engine.run.test_engine import drawn_edges
from tests.executors import run_id
from tests.plans import node, plan
from vibe_prefect import ExecutionResult, ExecutionStatus, ProgressEvent, WorkflowExecutor, WorkflowPlan, compile_plan

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm, pytest.mark.usefixtures("lost_connections")]

PLACEMENTS = {kind: {"kind": kind, "workers": 2} for kind in ("dask", "ray")}


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here has the server, the placements, and an empty folder to work in."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS", json.dumps(PLACEMENTS))


def call(id: str, tool: str, *, needs: list[str] | None = None, **inputs: Any) -> Any:
    return node(id, needs=needs, parameters={"tool": tool, "tool_inputs": inputs})


def mixed_plan() -> WorkflowPlan:
    """A plan with a file, a template, a composite, a failed node and a skipped one."""
    return plan(
        call("a", "shout", text="hello"),
        node(
            "parts",
            "composite",
            needs=["a"],
            children=[
                call("part", "shout", text="{{ outputs.a.text }} again", needs=["a"]),
                call("file", "write", text="kept"),
            ],
        ),
        call("late", "fail_once", marker=str(Path("marker").resolve())),
        call("end", "shout", text="{{ outputs.late.text }} {{ outputs.file.text }}", needs=["late", "file"]),
    )


@dataclass(frozen=True)
class Facts:
    """All of a run that is to be the same at each placement."""

    nodes: dict[str, tuple[Any, ...]]
    keys: dict[str, str]
    edges: set[tuple[str, str]]
    feedback: dict[str, Any]
    events: dict[str, list[str]]


async def facts_of(executor: WorkflowExecutor, result: ExecutionResult, events: list[ProgressEvent]) -> Facts:
    nodes = {
        id: (node.status, node.result, node.error, len(node.provenance.attempts) if node.provenance else 0)
        for id, node in result.node_results.items()
    }
    keys = {id: node.key for id, node in compile_plan(mixed_plan(), tools=cluster_tools()).nodes.items()}
    told: dict[str, list[str]] = {}
    for event in events:
        told.setdefault(event.node_id or "", []).append(str(event.event_type))
    feedback = {id: (sorted(found), found["execution_quality"]) for id, found in result.feedback_data.items()}
    return Facts(
        nodes, keys, await drawn_edges(executor), feedback, {id: told.get(id, []) for id in result.node_results}
    )


async def execute(run_on: str, resume_from: str | None = None) -> tuple[str, Facts]:
    events: list[ProgressEvent] = []
    executor = WorkflowExecutor(
        events.append, tool_registry=cluster_tools(), storage="records", run_on=run_on, wait_recorded=True
    )
    result = await executor.execute_plan(mixed_plan(), resume_from=resume_from)
    return run_id(executor), await facts_of(executor, result, events)


@pytest.mark.parametrize("kind", ["dask", "ray"])
async def test_run_is_the_same_at_each_placement_and_resumes_from_another_one(kind: str) -> None:
    needs(kind)
    here, local = await execute("local")
    there, placed = await execute(kind)
    assert placed == local
    assert {facts[0] for facts in local.nodes.values()} == {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.FAILED,
        ExecutionStatus.SKIPPED,
    }
    Path("marker").touch()
    _, resumed_there = await execute(kind, resume_from=here)
    Path("outputs").rename("gone")
    _, resumed_here = await execute("local", resume_from=there)
    assert resumed_there == resumed_here
    assert resumed_here.nodes["end"][1]["result"] == {"text": "AT LAST KEPT"}
    assert list(Path("outputs").rglob("made.txt"))
