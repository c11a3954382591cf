"""A plan with all that plans can do, from a form filled in and approved by clicks, and by a schedule.

It has inputs, a list of a length that an earlier node decides, the best of three titles, and an approval of each item.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Page, expect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

from tests.browsers import running_async_browser
from tests.deployed.api import deployment_id, ended, in_state, process, task_runs, until
from tests.paths import ROOT
from vibe_prefect.operations import approve

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm]

PATIENCE = 120_000.0
"""Milliseconds that anything on a page may take."""

ASKED = ("title", "shots.dawn", "shots.noon", "shots.dusk")


@pytest.fixture(scope="module")
def folder(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """The folder of a process that serves the plan, which also runs by the clock."""
    folder = tmp_path_factory.mktemp("campaign")
    for name in ("campaign.yaml", "campaign_tools.py"):
        shutil.copy(ROOT / "tests" / "data" / name, folder)
    arguments = ("serve", "campaign.yaml", "--tools", "campaign_tools.py", "--cron", "* * * * *")
    with process(folder, prefect_server, *arguments, ready="serving"):
        yield folder


def written(folder: Path, run: FlowRun) -> str:
    (index,) = folder.glob(f"**/*{run.id.hex[-8:]}/index.md")
    return index.read_text()


async def begin_by_clicks(page: Page, ui: str, deployment: UUID) -> UUID:
    """Fill the form in, and start a run."""
    await page.goto(f"{ui}/deployments/deployment/{deployment}/run")
    await page.get_by_label("Product").fill("Coffee")
    await page.get_by_role("button", name="Submit").click()
    link = page.locator("a[href*='/runs/flow-run/']").first
    return UUID(str(await link.get_attribute("href", timeout=PATIENCE)).rsplit("/", 1)[-1][:36])


async def approve_by_clicks(page: Page, ui: str, run: UUID) -> None:
    """Approve each of the items."""
    await page.goto(f"{ui}/runs/flow-run/{run}")
    await page.get_by_role("button", name="Open menu").click()
    await page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog").or_(page.get_by_role("alertdialog"))
    for item in ASKED:
        await dialog.get_by_label(f"Select Decision about approval: {item}").click()
        await page.get_by_role("option", name="approve").click()
    await dialog.get_by_role("button", name="Resume").click()
    await expect(dialog).to_have_count(0)


async def test_a_campaign_is_started_and_approved_by_clicks(prefect_server: str, folder: Path) -> None:
    ui = f"{prefect_server.removesuffix('/api')}/v2"
    async with get_client() as client, running_async_browser() as browser:
        page = await browser.new_page(viewport={"width": 1400, "height": 1400})
        page.set_default_timeout(PATIENCE)
        run = await begin_by_clicks(page, ui, await deployment_id(client, "campaign"))
        await in_state(client, run, "Suspended")
        await approve_by_clicks(page, ui, run)
        done = await ended(client, run)
        assert done.state_name == "Completed"
        cards = "".join(f"- shots.{shot}.card.png\n" for shot in ("dawn", "noon", "dusk"))
        assert written(folder, done).startswith("# Coffee!")
        assert written(folder, done).endswith(cards)
        await until(lambda: all_shown(client, run), "the task runs of the campaign")


async def test_a_campaign_is_started_by_a_schedule_and_approved_by_a_command(prefect_server: str, folder: Path) -> None:
    async with get_client() as client:
        waiting = await until(lambda: suspended(client), "a run of the schedule that waits")
        await approve(waiting.name, "approval", by="Ann", storage=str(folder / "home" / "storage" / "vibe-prefect"))
        done = await ended(client, waiting.id)
        assert done.state_name == "Completed"
        assert written(folder, done).startswith("# Tea!")


async def all_shown(client: PrefectClient, run: UUID) -> bool | None:
    """Whether the server, which records task runs a while after they end, has those of lists and of each choice."""
    names = {task["name"] for task in await task_runs(client, run)}
    return {"shots.dawn.card", "shots.noon.check", "shots", "title", "approval", "bundle"} <= names or None


async def suspended(client: PrefectClient) -> FlowRun | None:
    """The first run of the schedule that waits for an answer."""
    body = {"flow_runs": {"state": {"name": {"any_": ["Suspended"]}}, "tags": {"all_": ["plan:campaign"]}}}
    runs = (await client.request("POST", "/flow_runs/filter", json=body)).json()
    scheduled = [run for run in runs if run["auto_scheduled"]]
    return FlowRun.model_validate(scheduled[0]) if scheduled else None
