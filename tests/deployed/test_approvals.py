"""Approvals in runs of a deployment: suspended without a worker; answered in Prefect's UI, by a command, or by time."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Page, expect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun

from tests.browsers import running_async_browser
from tests.deployed.api import BOUND, ended, in_state, process, task_runs, trigger, until
from tests.deployed.plans import plan, tool
from vibe_prefect.engine.run.suspension import DEFAULT_TAG
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.operations import approvals, approve, reject

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm]

PATIENCE = 120_000.0
"""Milliseconds that anything on a page may take."""

POST = "A warm post.\n\nWith two paragraphs."


def asking(id: str, **inputs: Any) -> dict[str, Any]:
    """A post and a card, an approval of both, and a file that needs it."""
    check = tool("check", "approve", {"question": "May both go out?", **inputs}, "post", "card")
    return plan(
        id,
        tool("post", "template_fill", {"template": POST}),
        tool("card", "image_card", {"title": "Tea"}),
        {**check, "type": "validate"},
        tool("publish", "write_file", {"path": "post.md", "content": "{{ outputs.check.post.text }}"}, "check"),
    )


def serving(folder: Path, api: str) -> AbstractContextManager[object]:
    return process(folder, api, "serve", "asked.json", ready="serving")


@pytest.fixture(scope="module")
def folder(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("approvals")
    (folder / "asked.json").write_text(json.dumps(asking("asked")))
    return folder


async def answer_by_clicks(page: Page, server: str, run: FlowRun) -> None:
    """Look at the artifact, edit the post, and approve both with a comment."""
    page.set_default_timeout(PATIENCE)
    base = f"{server.removesuffix('/api')}/v2/runs/flow-run/{run.id}"
    await page.goto(f"{base}?tab=Artifacts")
    await page.get_by_role("link", name="asked-approval").first.click()
    await page.locator("a[href*='/artifacts/artifact/']").first.click()
    shown = page.get_by_test_id("markdown-display")
    await expect(shown).to_contain_text("May both go out?", timeout=PATIENCE)
    await expect(shown).to_contain_text("With two paragraphs.")
    assert await shown.locator("img").evaluate("image => image.naturalWidth > 0"), "the card is seen"

    await page.goto(base)
    await page.get_by_role("button", name="Open menu").click()
    await page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog").or_(page.get_by_role("alertdialog"))
    for item in ("post", "card"):
        await dialog.get_by_label(f"Select Decision about check: {item}").click()
        await page.get_by_role("option", name="approve").click()
    await expect(dialog.get_by_label("Text of check: card")).to_have_count(0)
    await dialog.get_by_label("Text of check: post").fill("Edited\n\nby clicks.")
    await dialog.get_by_label("Comment on check: post").fill("shorter is better")
    await dialog.get_by_label("Your name").fill("Ann Lee")
    await dialog.get_by_role("button", name="Resume").click()
    await expect(dialog).to_have_count(0)


async def states_are(client: PrefectClient, run: UUID, expected: dict[str, str]) -> bool | None:
    """Whether the server, which records task runs a while after they end, shows these states of nodes."""
    return {task["name"]: task["state_name"] for task in await task_runs(client, run)} == expected or None


async def wakes(client: PrefectClient, run: UUID) -> FlowRun | None:
    """The run that is scheduled for when the default answer to another one counts."""
    tags = FlowRunFilterTags(all_=[f"{DEFAULT_TAG}{run}"])
    runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags))
    return runs[0] if runs else None


LINGER = """
import atexit, os, time
def linger():
    while os.path.exists("linger"):
        time.sleep(0.05)
if "PREFECT__FLOW_RUN_ID" in os.environ:
    atexit.register(linger)
"""


async def test_stopping_serve_leaves_a_run_suspended_whose_process_ends(prefect_server: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LINGER)
    (tmp_path / "linger").touch()
    (tmp_path / "asked.json").write_text(json.dumps(asking("lingers")))
    async with get_client() as client:
        serve = process(tmp_path, prefect_server, "serve", "asked.json", ready="serving", PYTHONPATH=str(tmp_path))
        with serve as started:
            run = await trigger(client, "lingers")
            await in_state(client, run, "Suspended", "Failed")
            started.send_signal(signal.SIGINT)
            await until(lambda: said(tmp_path, "stopping"), "the word that it stops")
            (tmp_path / "linger").unlink()
            await asyncio.to_thread(started.wait, BOUND)
        assert (await client.read_flow_run(run)).state_name == "Suspended"
        await client.delete_flow_run(run)


async def said(folder: Path, text: str) -> bool | None:
    return text in (folder / "serve.log").read_text() or None


async def test_suspended_runs_are_answered_while_nothing_serves_them(prefect_server: str, folder: Path) -> None:
    async with get_client() as client, running_async_browser() as browser:
        with serving(folder, prefect_server):
            clicked, commanded = [
                await trigger(client, "asked", plan=asking(id, **inputs))
                for id, inputs in (("asked", {"timeout_hours": 1}), ("commanded", {}))
            ]
            runs = [await in_state(client, run, "Suspended", "Failed") for run in (clicked, commanded)]
            assert [run.state_name for run in runs] == ["Suspended"] * 2
            # Last of all: the run that wakes it is not to begin while this process, which would cancel it, stops.
            late = asking("timed", timeout_hours=0.005, on_timeout="approve")
            timed = await trigger(client, "asked", plan=late)
            await in_state(client, timed, "Suspended", "Cancelled")  # its time may be over already
        expected = {"post": "Completed", "card": "Completed", "check": "Waiting"}
        await until(lambda: states_are(client, clicked, expected), "the states of the nodes of the suspended run")
        assert await wakes(client, clicked) is not None

        records = str(folder / "home" / "storage" / "vibe-prefect")
        waiting = {node.run_name: node for node in await approvals(storage=records)}
        assert [waiting[run.name].suspended for run in runs] == [True, True]
        first = await approve(runs[1].name, "check", item="card", storage=records)
        assert (first.goes_on, list(first.question.open_items)) == (False, ["post"])
        last = await reject(runs[1].name, "check", "too long", by="Ann Lee", storage=records)
        assert last.goes_on
        page = await browser.new_page(viewport={"width": 1400, "height": 1400})
        await answer_by_clicks(page, prefect_server, runs[0])

        with serving(folder, prefect_server):
            by_clicks, by_command = await ended(client, clicked), await ended(client, commanded)
            waking = await until(lambda: wakes(client, timed), "the run that wakes another")
            by_time = await ended(client, waking.id)
        assert (by_clicks.state_name, by_clicks.run_count) == ("Completed", 1), "it is the same try, which went on"
        assert await wakes(client, clicked) is None, "nothing wakes a run that was answered"
        assert by_command.state_name == "Failed"
        assert by_command.state is not None
        assert "'post' was rejected by Ann Lee at " in (by_command.state.message or "")
        assert by_time.state_name == "Completed", by_time.state
        assert (await client.read_flow_run(timed)).state_name == "Cancelled"

    (made,) = folder.glob("outputs/asked/*/post.md")
    assert made.read_text() == "Edited\n\nby clicks."
    clicked_answers = (await load_report(by_clicks.name, records)).by_id["check"].answers
    assert re.search(r"post: approved by Ann Lee at \S+, with an edited text: shorter is better", clicked_answers[0])
    assert re.search(r"card: approved by Ann Lee at \S+$", clicked_answers[1])
    (post, _) = (await load_report(by_time.name, records)).by_id["check"].answers
    assert post.startswith("post: approved by timeout at ")
