"""The artifacts in Prefect's own user interface: drawn, readable, and inert."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from tests.reporting.reports import hostile_report, large_report, release_report
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.table import feedback_table

pytestmark = [pytest.mark.server, pytest.mark.slow]

REPORTS: dict[str, Callable[[], RunReport]] = {"fair": release_report, "hostile": hostile_report, "large": large_report}


@pytest.fixture(params=REPORTS)
def report(request: pytest.FixtureRequest) -> RunReport:
    return REPORTS[request.param]()


async def shown(page: Page, server: str, kind: str, data: str) -> Locator:
    """Keep an artifact, open it, and return where its content stands."""
    async with get_client() as client:
        artifact = await client.create_artifact(ArtifactCreate(type=kind, key=f"reporting-{kind}", data=data))
    await page.goto(f"{server.removesuffix('/api')}/v2/artifacts/artifact/{artifact.id}")
    return page.get_by_test_id(f"{kind}-display")


async def inert(page: Page) -> bool:
    """Tell whether nothing of the hostile text has become more than text."""
    found: dict[str, Any] = await page.evaluate(
        """() => ({
          pwned: typeof window.__pwned,
          links: [...document.links].filter((link) => link.protocol === "javascript:").length,
          images: [...document.images].filter((image) => /tracker|^x$/.test(image.getAttribute("src"))).length,
        })"""
    )
    return found == {"pwned": "undefined", "links": 0, "images": 0}


async def test_the_summary_is_drawn_and_inert(page: Page, prefect_server: str, report: RunReport) -> None:
    content = await shown(page, prefect_server, "markdown", markdown_summary(report))
    await expect(content.locator("h1")).to_be_visible(timeout=120_000)
    await expect(content.locator("svg[id^=mermaid] .node").first).to_be_visible(timeout=120_000)
    nodes = len(report.groups) if len(report.nodes) > 150 else len(report.nodes)
    assert await content.locator("svg[id^=mermaid] .node").count() == nodes
    assert await content.get_by_text("Failed to render").count() == 0
    assert await content.get_by_text("Unsupported markdown").count() == 0
    assert await content.locator("table").count() == 0
    assert await inert(page)


async def test_the_table_is_shown_and_inert(page: Page, prefect_server: str, report: RunReport) -> None:
    rows = feedback_table(report)
    content = await shown(page, prefect_server, "table", json.dumps(rows))
    await expect(content.locator("tbody tr").first).to_be_visible(timeout=120_000)
    assert await content.locator("thead th").all_inner_texts() == list(rows[0])
    assert await content.locator("tbody tr").count() == min(10, len(rows))
    assert await inert(page)
