"""The events of a run, as the server has them, and an automation that reacts to one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.automations.notify_on_failure import notify_on_failure
from tests.executors import executor
from tests.plans import node, plan
from tests.refusals import gated, refusing
from vibe_prefect import NodeContext, WorkflowExecutor, WorkflowNode, run_plan
from vibe_prefect.operations import accept

pytestmark = pytest.mark.server
POLL_SECONDS = 0.2
POLLS = 300


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


async def work(node: WorkflowNode) -> dict[str, Any]:
    if node.id.startswith("bad"):
        raise RuntimeError("refused " + 5_000 * "x")
    return {"result": f"made {node.id} of some length"}


async def write(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
    return dict(context.workspace.write(f"{node.id}.txt", b"words"))


async def events(run: WorkflowExecutor, prefix: str = "vibe-prefect.") -> list[dict[str, Any]]:
    """Return the events about an executor's run that the server has, oldest first."""
    assert run.last_run is not None
    return await events_of(run.last_run.flow_run_id, prefix)


async def events_of(run: object, prefix: str = "vibe-prefect.") -> list[dict[str, Any]]:
    """Return the events about a run that the server has, oldest first."""
    wanted = {
        "event": {"prefix": [prefix]},
        "related": {"id": [f"prefect.flow-run.{run}"]},
        "order": "ASC",
    }
    async with get_client() as client:
        response = await client.request("POST", "/events/filter", json={"filter": wanted, "limit": 50})
    return list(response.json()["events"])


async def until(found: Callable[[], Awaitable[list[dict[str, Any]]]], count: int) -> list[dict[str, Any]]:
    now: list[dict[str, Any]] = []
    for _ in range(POLLS):
        now = await found()
        if len(now) >= count:
            break
        await asyncio.sleep(POLL_SECONDS)
    return now


async def test_a_refusal_says_what_helps_and_its_acceptance_is_an_event() -> None:
    run = WorkflowExecutor(tool_registry=refusing().registry, simulate="never", storage="records")
    await run.execute_plan(gated())
    [failed] = await until(lambda: events(run, "vibe-prefect.run."), 1)
    assert run.last_run is not None
    name = run.last_run.name
    assert failed["payload"]["resume"] == f"vibe-prefect resume {name} --refresh post+"
    assert [step["command"].split()[1] for step in failed["payload"]["next_steps"]] == [
        "resume",
        "replan",
        "resume",
        "accept",
    ]
    [suggested] = await until(lambda: events(run, "vibe-prefect.replan."), 1)
    assert suggested["payload"]["sentences"][0].startswith("'post' was refused by 'tone'")
    await accept(name, "tone", "fine", by="Ann Lee", storage="records")
    [accepted] = await until(lambda: events(run, "vibe-prefect.node.accepted"), 1)
    payload = accepted["payload"]
    assert (payload["by"], payload["because"], payload["node_id"]) == ("Ann Lee", "fine", "tone")


async def test_each_node_and_the_run_send_one_event() -> None:
    run = executor(work)
    await run.execute_plan(plan(node("bad"), node("after", needs=["bad"]), node("fine"), id="told"))
    found = await until(lambda: events(run), 5)
    by_name = {event["event"]: event for event in found}
    assert sorted(by_name) == [
        "vibe-prefect.node.completed",
        "vibe-prefect.node.failed",
        "vibe-prefect.node.skipped",
        "vibe-prefect.replan.suggested",
        "vibe-prefect.run.failed",
    ]
    failed = by_name["vibe-prefect.node.failed"]
    assert run.last_run is not None
    assert failed["resource"]["prefect.resource.id"] == f"vibe-prefect.node.{run.last_run.flow_run_id}.bad"
    assert failed["payload"]["error"].startswith("refused xxx")
    assert len(failed["payload"]["error"]) < 1_100
    ended = by_name["vibe-prefect.run.failed"]["payload"]
    assert ended["failed_nodes"] == ["bad"]
    assert ended["reason"].startswith("plan 'told': 1 of 3 nodes failed, 1 skipped\n  bad: refused xxx")
    assert ended["resume"] == f"vibe-prefect resume {ended['run_name']}"
    assert f"/flow-run/{run.last_run.flow_run_id}" in ended["run_url"]
    assert {"prefect.flow", "prefect.flow-run"} <= {
        one["prefect.resource.id"].rpartition(".")[0] for one in failed["related"]
    }


async def test_nodes_that_are_kept_send_none() -> None:
    run = executor(work)
    await run.execute_plan(plan(node("a"), id="kept"))
    assert run.last_run is not None
    await run.execute_plan(plan(node("a"), id="kept"), resume_from=str(run.last_run.flow_run_id))
    found = await until(lambda: events(run), 1)
    assert [event["event"] for event in found] == ["vibe-prefect.run.completed"]


async def test_files_are_assets_with_their_lineage() -> None:
    run = executor(write)
    await run.execute_plan(plan(node("draft"), node("final", needs=["draft"]), id="assets"))
    found = await until(lambda: events(run, "prefect.asset.materialization"), 2)
    upstream = {
        Path(event["resource"]["prefect.resource.id"]).name: [
            Path(one["prefect.resource.id"]).name for one in event["related"] if one["prefect.resource.role"] == "asset"
        ]
        for event in found
    }
    assert upstream == {"draft.txt": [], "final.txt": ["draft.txt"]}


async def test_a_plan_that_is_refused_when_it_begins_is_a_failed_run() -> None:
    state = await run_plan({"id": "refused"}, return_state=True)
    assert state.is_failed()

    async def told() -> list[dict[str, Any]]:
        return await events_of(state.state_details.flow_run_id)

    (event,) = await until(told, 1)
    assert event["event"] == "vibe-prefect.run.failed"
    assert event["payload"]["plan_id"] == "refused"
    assert event["payload"]["reason"] == state.message
    assert event["payload"]["resume"] is None, "there is nothing to go on with"


@pytest.mark.parametrize(("by", "end"), [(None, "crashed"), ("The run was stopped by Ctrl-C.", "cancelled")])
async def test_a_run_that_is_stopped_is_told_with_the_command_that_goes_on(by: str | None, end: str) -> None:
    begun = asyncio.Event()

    async def hang(node: WorkflowNode) -> dict[str, Any]:
        begun.set()
        await asyncio.sleep(600)
        return {}

    run = executor(hang)
    running = asyncio.create_task(run.execute_plan(plan(node("slow"), id="stopped")))
    await begun.wait()
    if by is not None:
        run.note_stop(by)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async def told() -> list[dict[str, Any]]:
        return await events(run, "vibe-prefect.run.")

    (event,) = await until(told, 1)
    assert event["event"] == f"vibe-prefect.run.{end}"
    assert event["payload"]["reason"] == (by or "Execution was cancelled by the runtime environment.")
    assert run.last_run is not None
    async with get_client() as client:
        found = await client.read_flow_run(run.last_run.flow_run_id)
    assert (found.state_name, found.state and found.state.message) == (end.title(), event["payload"]["reason"])
    assert event["payload"]["resume"].startswith("vibe-prefect resume stopped-")


async def test_an_automation_reacts_to_a_failed_run() -> None:
    with listening() as (address, heard):

        async def about(plan_id: str) -> list[dict[str, Any]]:
            return [told for told in map(json.loads, heard) if told["plan_id"] == plan_id]

        automation = await notify_on_failure(address, name="test: notify on failure")
        try:
            await executor(work).execute_plan(plan(node("bad"), id="alarming"))
            await until(lambda: about("alarming"), 1)
        finally:
            async with get_client() as client:
                await client.delete_automation(automation)
        (told,) = await about("alarming")
        assert told["run_name"].startswith("alarming-")
        assert told["failed_nodes"] == ["bad"]
        assert told["reason"].startswith("plan 'alarming': 1 of 1 nodes failed")
        assert told["resume"] == f"vibe-prefect resume {told['run_name']}"
        assert "/flow-run/" in told["run_url"]


@contextmanager
def listening() -> Generator[tuple[str, list[str]]]:
    """Run an HTTP server on loopback that keeps what is posted to it."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
