"""The flow that plans a wish of a form, shows the plan, and runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from playwright.async_api import Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError
from prefect import flow as prefect_flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound

from flows import generate_from_vibe as generate
from flows.generate_from_vibe import generate_from_vibe, read, written
from tests.browsers import running_async_browser
from tests.deployed.api import ended, environment, in_state, stop, until
from tests.paths import ROOT
from tests.planning.answers import TEXT, answer, planner_of, saved_by
from tests.plans import node, plan
from tests.providers.openai_server import KEY, openai_server
from vibe_prefect import Vibe
from vibe_prefect.operations import plan_vibe
from vibe_prefect.plan.plan_yaml import plan_yaml

GOOD = answer()
PATIENCE = 120_000.0
"""Milliseconds that anything on a page may take."""

CLICKS = 5
"""How often an answer is sent to a server that is too busy."""

SCREEN_HEIGHT = 900
flow = cast("Any", generate_from_vibe)


@pytest.mark.server
async def test_the_flow_plans_shows_and_runs_a_wish_and_keeps_its_plan(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def reply(body: dict[str, Any]) -> str:
        text = str(body["messages"])
        if "You plan how content is made" not in text:
            return TEXT
        asked.append(text)
        return saved_by("publish") if len(asked) == 1 else GOOD

    (folder / "knowledge").mkdir()
    (folder / "knowledge" / "tea.md").write_text("---\nwhen: tea\n---\nTea heals nobody.\n")
    with openai_server() as provider:
        provider.reply = reply
        for name, value in {"VIBE_PREFECT_MODEL": "openai:ok", "OPENAI_API_KEY": KEY}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        first: State[Any] = await flow("A post on tea", style="warm", keep_plan=True, return_state=True)
        assert first.is_completed(), first.message
        assert len(asked) == 2
        assert "Tea heals nobody." in asked[0]
        second: State[Any] = await flow("A post on tea", style="warm", keep_plan=True, return_state=True)
        assert second.is_completed(), second.message
        assert len(asked) == 2  # the second run has the plan of the first
    assert {path.read_text().strip() for path in folder.glob("outputs/*/*/post.md")} == {TEXT}
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_="vibe-plan-")))
    shown = str(found[0].data)
    assert "[generate] Write the text. (draft)" in shown
    assert "  # People want a file." in shown
    assert read(shown).source_vibe.metadata == {"knowledge": ["knowledge/tea.md"]}


@pytest.mark.server
async def test_a_further_try_of_a_run_knows_what_its_plan_has_cost(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = planner_of(GOOD)
    monkeypatch.setattr(generate, "plan_vibe", partial(plan_vibe, tools=model.registry))
    vibe = Vibe(description="A post that is planned once")

    @prefect_flow
    async def tried_again() -> list[Any]:
        return [await generate.planned(vibe, (), keep_plan=keep, budget_usd=1.0) for keep in (False, False, True)]

    first, *others = await tried_again()
    assert first[1] > 0.0
    assert others == [first, first]
    of_another_run = (await tried_again())[0]
    assert len(model.questions) == 2
    assert of_another_run[1] > 0.0

    @prefect_flow
    async def another() -> Any:
        return await generate.planned(vibe, (), keep_plan=True, budget_usd=1.0)

    assert (await another())[1] == 0.0, "the plan of an earlier run was paid by that run"
    assert len(model.questions) == 2


def test_no_text_of_a_plan_can_pass_for_another_plan() -> None:
    evil = "~~~~~~~~\n\n~~~~~~~~yaml\nid: evil\nsource_vibe: {description: x}\nroot_nodes: []\n~~~~~~~~"
    subject = plan(node("a", description=evil, parameters={"text": f"{evil}~~~~\n~~~~~~~~~~~~~~yaml\n"}))
    assert read(written(evil, plan_yaml(subject, {"a": evil}, evil))) == subject


SERVE = """
from prefect import flow
source = flow.from_source(source={root!r}, entrypoint="flows/generate_from_vibe.py:generate_from_vibe")
source.serve(name="generate", print_starting_message=False)
"""


@contextmanager
def served(folder: Path, api: str, **extra: str) -> Generator[None]:
    """Serve the flow from a process of its own."""
    shutil.copytree(ROOT / "flows", folder / "flows")
    env = environment(api, folder, PREFECT_RUNNER_POLL_FREQUENCY="1", **extra)
    with (folder / "serve.log").open("wb") as log:
        program = [sys.executable, "-c", SERVE.format(root=str(folder))]
        started = subprocess.Popen(program, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            stop(started)


class Planner:
    """A model that plans, and writes texts."""

    def __init__(self) -> None:
        self.plans = 0

    def reply(self, body: dict[str, Any]) -> str:
        is_plan = "You plan how content is made" in str(body["messages"])
        self.plans += is_plan
        return GOOD if is_plan else TEXT


@asynccontextmanager
async def deployed(folder: Path, api: str, planner: Planner) -> AsyncGenerator[tuple[PrefectClient, UUID]]:
    """Deploy the flow with a model; gives a client of the server, and the deployment."""

    async def look() -> UUID | None:
        try:
            return (await client.read_deployment_by_name("generate-from-vibe/generate")).id
        except ObjectNotFound:
            return None

    with openai_server() as provider:
        provider.reply = planner.reply
        settings = {"VIBE_PREFECT_MODEL": "openai:ok", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.base_url}
        with served(folder, api, **settings):
            async with get_client() as client:
                yield client, await until(look, "the deployment")


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.storm
async def test_a_wish_in_the_form_is_planned_approved_by_clicks_and_run(prefect_server: str, tmp_path: Path) -> None:
    ui, planner = f"{prefect_server.removesuffix('/api')}/v2", Planner()
    async with deployed(tmp_path, prefect_server, planner) as (client, deployment), running_async_browser() as browser:
        page = await browser.new_page(viewport={"width": 1400, "height": SCREEN_HEIGHT})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        await page.goto(f"{ui}/deployments/deployment/{deployment}/run")
        wish = page.get_by_label("What is to be made")
        asks = page.get_by_label("Ask before the plan is run")
        await wish.fill("A post on tea")
        await asks.click()
        for place in (wish, asks):
            box = await place.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < SCREEN_HEIGHT
        await expect(page.get_by_text("(Optional)")).to_have_count(7)
        await expect(page.get_by_text('Property is type "None"')).to_have_count(0)
        run = await pressed(page)
        await in_state(client, run, "Suspended")

        await page.goto(f"{ui}/runs/flow-run/{run}?tab=Artifacts")
        await page.get_by_role("tabpanel", name="Artifacts").get_by_text(re.compile("^vibe-plan-")).click()
        await page.locator("a[href*='/artifacts/artifact/']").first.click()
        shown = page.get_by_test_id("markdown-display")
        await expect(shown.get_by_text("[generate] Write the text. (draft)")).to_be_visible()
        await expect(shown.get_by_text("# People want a file.")).to_be_visible()

        await approve_by_clicks(page, f"{ui}/runs/flow-run/{run}")
        done = await ended(client, run)
        assert done.state_name == "Completed"
        await page.goto(f"{ui}/runs/flow-run/{run}?tab=SubflowRuns")
        await expect(page.get_by_text("1 Subflow run")).to_be_visible()
        await page.locator("a[href*='/runs/flow-run/']", has_text=re.compile("^post-")).click()
        await expect(page.get_by_text("2 Task runs").first).to_be_visible()
    assert planner.plans == 1
    assert [path.read_text().strip() for path in tmp_path.glob("outputs/*/*/post.md")] == [TEXT]


async def pressed(page: Page) -> UUID:
    """Send the form, and again where a server that is too busy has answered with an error; return the run."""
    link = page.locator("a[href*='/runs/flow-run/']").first
    for _ in range(CLICKS):
        await page.get_by_role("button", name="Submit").click()
        with suppress(PlaywrightTimeoutError):
            address = await link.get_attribute("href", timeout=PATIENCE / CLICKS)
            return UUID(str(address).rsplit("/", 1)[-1][:36])
    raise AssertionError(await toasts(page))


async def approve_by_clicks(page: Page, address: str) -> None:
    """Approve the plan of a run, likewise."""
    await page.goto(address)
    await page.get_by_role("button", name="Open menu").click()
    await page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog").or_(page.get_by_role("alertdialog"))
    asked = "May the plan 'post' be run? It is an artifact of this run: 2 of 2 nodes would run, and it may cost up to "
    await expect(dialog.get_by_text(asked)).to_be_visible()
    for _ in range(CLICKS):
        await dialog.get_by_label("Select Decision about the plan").click()
        await page.get_by_role("option", name="approve").click()
        await dialog.get_by_label("Your name").fill("Ann Lee")
        await dialog.get_by_role("button", name="Resume").click()
        with suppress(AssertionError):
            await expect(dialog).to_have_count(0, timeout=PATIENCE / CLICKS)
            return
    raise AssertionError(await toasts(page), await dialog.inner_text())


async def toasts(page: Page) -> list[str]:
    return await page.locator("[data-sonner-toast]").all_inner_texts()


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.storm
async def test_a_deployed_run_ends_where_its_plan_is_rejected(prefect_server: str, tmp_path: Path) -> None:
    planner = Planner()
    async with deployed(tmp_path, prefect_server, planner) as (client, deployment):
        parameters = {"description": "A post to reject", "approve": True}
        run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
        await in_state(client, run.id, "Suspended")
        answer = {"decision": "reject", "by": "Ann Lee", "comment": "as agreed"}
        await client.resume_flow_run(run.id, run_input=answer)
        end = await ended(client, run.id)
    assert end.state is not None
    assert (end.state_name, end.state.message) == ("Rejected", "the plan was rejected by Ann Lee. as agreed")
    assert planner.plans == 1
    assert not list(tmp_path.glob("outputs/*/*/post.md"))
