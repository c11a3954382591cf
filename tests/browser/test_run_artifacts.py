"""What real runs put into Prefect, opened in Prefect's own user interface from the page of the run."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Locator, Page, expect

from tests.plans import node, plan
from vibe_prefect import NodeContext, ToolRegistry, WorkflowExecutor, WorkflowNode, WorkflowNodeType, WorkflowPlan

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE = 120_000.0
"""Milliseconds that anything on a page may take."""


async def work(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
    if node.id == "bad":
        raise RuntimeError("<script>window.__pwned = 1</script> `refused` | for good")
    if node.id == "text":
        return {
            "text": "# Heading\n\n- *one* <img src=x onerror='window.__pwned = 1'>\n\n![x](http://tracker.example/a.png)"
        }
    target = context.workspace.output_root / "card.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (640, 400), "navy").save(target)
    return dict(context.workspace.write(target.name, target.read_bytes()))


async def run(subject: WorkflowPlan) -> str:
    """Run a plan to its end; returns the path of the run's page."""
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), storage="records")
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, work)
    await executor.execute_plan(subject)
    assert executor.last_run is not None
    return f"/v2/runs/flow-run/{executor.last_run.flow_run_id}"


async def opened(page: Page, server: str, path: str, kind: str, form: str) -> Locator:
    """Go from a run's page to the history of one of its artifacts, and on to it; returns where its content stands."""
    await page.goto(f"{server.removesuffix('/api')}{path}?tab=Artifacts")
    await page.get_by_role("link", name=kind).first.click(timeout=PATIENCE)
    await page.locator("a[href*='/artifacts/artifact/']").first.click(timeout=PATIENCE)
    content = page.get_by_test_id(f"{form}-display")
    await expect(content).to_be_visible(timeout=PATIENCE)
    return content


@pytest.mark.usefixtures("folder")
async def test_the_artifacts_of_a_failed_run(page: Page, prefect_server: str) -> None:
    states = {"card": "completed", "bad": "failed", "last": "skipped", "text": "completed"}
    nodes = [node("card"), node("bad", needs=["card"]), node("last", needs=["bad"]), node("text")]
    path = await run(plan(*nodes, id="ui-bad"))
    table = await opened(page, prefect_server, path, "ui-bad-feedback", "table")
    rows = await table.locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows] == list(states)
    assert [state in row for state, row in zip(states.values(), rows, strict=True)] == [True] * 4

    summary = await opened(page, prefect_server, path, "ui-bad-summary", "markdown")
    await expect(summary.locator("svg[id^=mermaid] .node").first).to_be_visible(timeout=PATIENCE)
    assert await summary.locator("svg[id^=mermaid] .node").count() == 4
    await expect(summary.get_by_text("window.__pwned").first).to_be_visible()
    await expect(summary.get_by_text("vibe-prefect resume").first).to_be_visible()

    await page.goto(f"{prefect_server.removesuffix('/api')}{path}?tab=Artifacts")
    artifacts = page.get_by_test_id("flow-run-artifacts-grid").get_by_role("link")
    await expect(artifacts.first).to_contain_text("ui-bad-outputs", timeout=PATIENCE)
    pictures = await opened(page, prefect_server, path, "ui-bad-outputs", "markdown")
    image = pictures.locator("img").first
    await expect(image).to_be_visible(timeout=PATIENCE)
    assert await image.evaluate("image => image.naturalWidth") > 0
    await expect(pictures.get_by_role("heading", name="Heading")).to_be_visible()
    await expect(pictures.locator("li em", has_text="one")).to_be_visible()
    assert await pictures.locator("img").count() == 1
    assert await page.evaluate("typeof window.__pwned") == "undefined"
