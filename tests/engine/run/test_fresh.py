"""`policy.fresh: content`: a resume runs what reads a changed file or page, and what depends on it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.executors import run_id
from tests.providers.loopback import serving
from vibe_prefect import ExecutionResult, WorkflowExecutor, WorkflowPlan
from vibe_prefect.operations import forecast, output, validate
from vibe_prefect.run.run_options import RunOptions

pytestmark = pytest.mark.server

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"


class Page:
    """A site with one text."""

    def __init__(self) -> None:
        self.text = "page"
        self.status = 200
        self.asked = 0

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.asked += 1
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.text.encode()})


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def address(page: Page, prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The site's address, which the settings allow; records lie in the working folder."""
    with serving(page) as port:
        for name in ("FETCH_ALLOW", "FETCH_ALLOW_PRIVATE"):
            monkeypatch.setenv(f"{PREFIX}{name}", f"127.0.0.1:{port}")
        monkeypatch.setenv(f"{PREFIX}STORAGE", str(folder / "records"))
        yield f"http://127.0.0.1:{port}/text"


def node(id: str, tool: str, inputs: dict[str, Any], *needs: str, fresh: bool = False) -> dict[str, Any]:
    policy = {"policy": {"fresh": "content"}} if fresh else {}
    parameters = {"tool": tool, "tool_inputs": inputs}
    return {"id": id, "type": "analyze", "description": id, "dependencies": needs, "parameters": parameters, **policy}


def plan_of(address: str) -> WorkflowPlan:
    nodes = [
        node("file", "read_text", {"path": "{{ inputs.brief }}"}, fresh=True),
        node("page", "http_fetch", {"url": address}, fresh=True),
        node("of-file", "template_fill", {"template": "{{ outputs.file.text }}"}, "file"),
        node("of-page", "template_fill", {"template": "{{ outputs.page.text }}"}, "page"),
        node("apart", "template_fill", {"template": "apart"}),
    ]
    inputs = {"brief": {"type": "string", "default": "brief.md"}}
    vibe = {"description": "fresh"}
    return WorkflowPlan.model_validate({"id": "fresh", "source_vibe": vibe, "inputs": inputs, "root_nodes": nodes})


async def forecast_of(plan: WorkflowPlan, run: str) -> dict[str, str]:
    """The nodes that a resume would run, each with the reason."""
    ahead = await forecast(validate(plan), RunOptions(resume_from=run))
    return {id: node.reason for id, node in ahead.forecast.nodes.items() if node.action.value == "run"}


class Recorder:
    """Notes which nodes run."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def __call__(self, event: Any) -> None:
        if event.event_type.value == "node_started":
            self.started.append(event.node_id)


async def resumed(plan: WorkflowPlan, run: str) -> tuple[list[str], ExecutionResult, str]:
    """Resume a run; returns the nodes that ran, the result, and the id of the new run."""
    recorder = Recorder()
    executor = WorkflowExecutor(progress_callback=recorder)
    result = await executor.execute_plan(plan, resume_from=run)
    return sorted(recorder.started), result, run_id(executor)


async def test_a_changed_file_or_page_runs_its_node_again_and_what_depends_on_it(
    page: Page, address: str, folder: Path
) -> None:
    (folder / "brief.md").write_text("one")
    plan = plan_of(address)
    first = WorkflowExecutor()
    await first.execute_plan(plan)
    run = run_id(first)
    assert await forecast_of(plan, run) == {}
    (folder / "brief.md").write_text("two")
    assert await forecast_of(plan, run) == {
        "file": "changed: the content that it reads",
        "of-file": "depends on file, which runs",
    }
    ran, result, run = await resumed(plan, run)
    assert ran == ["file", "of-file"]
    assert result.node_results["of-file"].result["result"] == {"text": "two"}
    page.text = "other page"
    ran, result, run = await resumed(plan, run)
    assert ran == ["of-page", "page"]
    assert result.node_results["of-page"].result["result"] == {"text": "other page"}
    (made,) = (await output(run, "of-page")).outputs
    assert made.text == "other page"
    assert await forecast_of(plan, run) == {}


async def test_content_that_cannot_be_read_runs_the_node_and_says_why(page: Page, address: str, folder: Path) -> None:
    (folder / "brief.md").write_text("one")
    plan = plan_of(address)
    first = WorkflowExecutor()
    await first.execute_plan(plan)
    (folder / "brief.md").unlink()
    page.status = 404
    reasons = await forecast_of(plan, run_id(first))
    assert set(reasons) == {"file", "page", "of-file", "of-page"}
    assert reasons["file"].startswith("what it reads could not be compared: read_text: there is no file 'brief.md'")
    assert reasons["page"].startswith("what it reads could not be compared: fetch: ")
    _, result, _ = await resumed(plan, run_id(first))
    failed = {id for id, node in result.node_results.items() if node.status.value == "failed"}
    assert failed == {"file", "page"}
    assert result.node_results["apart"].status.value == "completed"
