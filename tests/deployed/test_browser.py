"""A person at the Prefect UI: fills in the form, runs it, looks at graph and artifacts, retries, cancels, reads errors.

It is the UI that a new browser is shown, the second one.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Generator
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.utilities.asyncutils import run_coro_as_sync

from tests.browsers import running_browser
from tests.deployed.api import call, process, until_now
from tests.deployed.gate import WIDTH, Gate, running_gate
from tests.deployed.plans import incomplete, written
from vibe_prefect import run_plan
from vibe_prefect.engine.deploy.deployments import PlanDeployment
from vibe_prefect.engine.prefect_seam.flows import extend_form

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE = 120_000.0
"""Milliseconds that anything on a page may take."""

POOL = "browser"
SCREEN_HEIGHT = 900
FOLDED = {f"extra_{name}": {"type": "string", "default": name} for name in "abcd"}
"""Inputs of a deployed plan for which a screen has no room."""
SUBMITS = 5
"""How often a form is sent to a server that is too busy."""
DECLARED = {
    "product": {"type": "string", "description": "What it is about."},
    "words": {"type": "integer", "default": 50},
}
COMPLETED = (33, 157, 75)
"""The colour in which the graph draws what has completed."""


@pytest.fixture(scope="module")
def page() -> Generator[Page]:
    with running_browser() as browser:
        opened = browser.new_page(viewport={"width": 1400, "height": 1400})
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield opened


@pytest.fixture(scope="module")
def gate() -> Generator[Gate]:
    with running_gate() as gate:
        yield gate


@pytest.fixture(scope="module")
def folder(prefect_server: str, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """The folder of a worker, a deployed plan, and a deployment without a plan of its own."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "letter.json").write_text(json.dumps({**written("letter"), "inputs": DECLARED | FOLDED}))
    deployed = call(folder, prefect_server, "deploy", "letter.json", "--pool", POOL, "--overlap", "allow")
    assert deployed.returncode == 0, deployed.stderr
    any_plan = PlanDeployment("any", "Any plan", None).build_for(POOL, folder)
    any_plan.parameters = {}
    extend_form(any_plan, lambda _: run_plan.parameters)
    run_coro_as_sync(any_plan.aapply())  # the browser has a loop of its own
    with process(folder, prefect_server, "worker", "start", "--pool", POOL, ready="started!", **gate.settings):
        yield folder


@pytest.fixture(scope="module")
def ui(prefect_server: str) -> str:
    return f"{prefect_server.removesuffix('/api')}/v2"


def deployment(client: SyncPrefectClient, name: str = "any") -> UUID:
    return client.read_deployment_by_name(f"run-plan/{name}").id


def open_form(page: Page, ui: str, name: str = "any") -> None:
    with get_client(sync_client=True) as client:
        page.goto(f"{ui}/deployments/deployment/{deployment(client, name)}/run")


def fill_node(page: Page, number: int, id: str, kind: str) -> None:
    """Fill in the so manieth node of the form; the plan's own fields come before the first."""
    page.get_by_label("Id", exact=True).nth(number).fill(id)
    page.get_by_label("Description", exact=True).nth(number).fill(f"do {id}")
    page.get_by_label("Select Type", exact=True).nth(number - 1).click()
    page.get_by_role("option", name=kind).click()


def submit(page: Page) -> UUID:
    """Press the button, and again where a busy server has answered with an error."""
    link = page.locator("a[href*='/runs/flow-run/']").first
    errors = page.locator("[data-sonner-toast][data-type=error]")
    for _ in range(SUBMITS):
        shown = errors.count()
        page.get_by_role("button", name="Submit").click()
        link.or_(errors.nth(shown)).first.wait_for()
        if link.is_visible():
            return UUID(re.findall(r"flow-run/([0-9a-f-]{36})", link.get_attribute("href") or "")[0])
    raise AssertionError(errors.all_inner_texts())


def await_state(page: Page, ui: str, run: UUID, state: str) -> None:
    page.goto(f"{ui}/runs/flow-run/{run}")
    expect(page.get_by_text(state, exact=True).first).to_be_visible()


def choose(page: Page, action: str, confirm: str) -> None:
    """Choose what the menu of a run offers, and confirm it."""
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name=action, exact=True).click()
    dialog = page.get_by_role("dialog").or_(page.get_by_role("alertdialog"))
    dialog.get_by_role("button", name=confirm, exact=True).click()


def edges(client: SyncPrefectClient, run: UUID) -> set[tuple[str, str]]:
    graph = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": run}).json()
    nodes = dict(graph["nodes"])
    return {(nodes[parent["id"]]["label"], node["label"]) for node in nodes.values() for parent in node["parents"]}


def bars(page: Page) -> int:
    """How many bars of completed nodes the graph's picture shows, each in rows of its own."""
    picture = Image.open(io.BytesIO(page.locator("canvas").first.screenshot())).convert("RGB")
    width, height = picture.size
    in_row = [
        sum(picture.getpixel((x, y)) == COMPLETED for x in range(width)) >= 3
        for y in range(height - 20)  # below is the strip of the run's own states
    ]
    return sum(coloured for coloured, _ in groupby(in_row))


def start(**parameters: Any) -> UUID:
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployment(client), parameters=parameters).id


def tasks(run: UUID, count: int) -> list[tuple[str, str]]:
    """Names and states of the run's task runs, once there are so many, all of them over; in the order of time."""

    def look() -> list[tuple[str, str]] | None:
        body = {"flow_runs": {"id": {"any_": [str(run)]}}, "sort": "EXPECTED_START_TIME_ASC"}
        with get_client(sync_client=True) as client:
            found = client.request("POST", "/task_runs/filter", json=body).json()
        over = all(task["state_type"] not in ("PENDING", "RUNNING") for task in found)
        return [(task["name"], task["state_name"]) for task in found] if over and len(found) == count else None

    return until_now(look, f"{count} task runs")


def test_form_of_a_deployed_plan_fits_the_screen_and_a_wrong_plan_in_it_is_answered_in_words(
    page: Page, folder: Path, ui: str
) -> None:
    open_form(page, ui, "letter")
    places = [page.get_by_label("Product"), page.get_by_role("tab", name="As deployed")]
    tops = [place.bounding_box() for place in (*places, page.get_by_role("button", name="Submit"))]
    product, options, button = (top["y"] + top["height"] for top in tops if top is not None)
    assert product < options < button < SCREEN_HEIGHT
    expect(page.get_by_label("Another plan")).not_to_be_visible()
    expect(page.get_by_text("More inputs: Extra a, Extra b, Extra c, Extra d.")).to_be_visible()
    page.get_by_label("Product").fill("Tea")
    page.get_by_role("tab", name="Choose").click()
    expect(page.get_by_label("Extra d")).to_have_value("d")
    page.get_by_label("Resume run").fill("none-such")
    page.get_by_label("Another plan").fill("id: other\nsource_vibe: {}\nroot_nodes: []")
    run = submit(page)
    await_state(page, ui, run, "Failed")
    page.get_by_role("tab", name="Details").click()
    expect(page.get_by_text("source_vibe.description: missing; it is required").first).to_be_visible()


def test_fill_in_the_form_run_it_and_see_the_graph(page: Page, folder: Path, ui: str) -> None:
    open_form(page, ui)
    expect(page.get_by_text("The name of a stored plan, such as nightly-digest")).to_be_visible()
    expect(page.get_by_text("The wish that the plan was made from.")).not_to_be_visible()
    page.get_by_role("tab", name="Plan", exact=True).click()
    expect(page.get_by_text("The wish that the plan was made from.")).to_be_visible()
    page.get_by_label("Id", exact=True).first.fill("by-hand")
    page.get_by_label("Description", exact=True).first.fill("Made by hand")
    add = page.get_by_role("button", name="Add item")
    add.nth(1).click()
    fill_node(page, 1, "parent", "composite")
    add.nth(3).click()  # after its dependencies and its optional ones
    fill_node(page, 2, "child", "composite")
    run = submit(page)
    await_state(page, ui, run, "Completed")
    assert tasks(run, 2) == [("parent", "Completed"), ("child", "Completed")]
    with get_client(sync_client=True) as client:
        assert edges(client, run) == {("parent", "child")}
    page.reload()  # the server may have had the task runs on record later than the end of the run
    expect(page.get_by_text("2 Task runs")).to_be_visible()
    until_now(lambda: bars(page) == 2 or None, "two bars in the graph")
    open_artifact(page, ui, run, "by-hand-progress", "100 %")
    open_artifact(page, ui, run, "by-hand-summary", "by-hand")
    expect(page.get_by_test_id("markdown-display").locator("svg[id^=mermaid] .node")).to_have_count(2)
    open_artifact(page, ui, run, "by-hand-feedback", "parent")
    rows = page.get_by_test_id("table-display").locator("tbody tr")
    expect(rows.filter(has_text="parent")).to_contain_text("completed")
    expect(rows.filter(has_text="child")).to_contain_text("completed")


def open_artifact(page: Page, ui: str, run: UUID, key: str, content: str) -> None:
    """Open an artifact from the list of the run's artifacts, by way of the page with its history."""
    page.goto(f"{ui}/runs/flow-run/{run}?tab=Artifacts")
    shown = page.get_by_role("tabpanel", name="Artifacts")
    expect(shown.get_by_text(re.compile("-(summary|feedback|progress)$"))).to_have_count(3)
    shown.get_by_text(key, exact=True).click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.wait_for_url("**/artifacts/artifact/**")
    expect(page.locator("main").get_by_text(content).first).to_be_visible()


def test_press_retry_and_only_what_failed_is_executed(page: Page, folder: Path, ui: str) -> None:
    run = start(plan=incomplete("broken"))
    await_state(page, ui, run, "Failed")
    before = tasks(run, 3)
    assert before == [("first", "Completed"), ("late", "Failed"), ("last", "Skipped")]
    (first,) = folder.glob("outputs/broken/*/first.txt")
    written_at = first.stat().st_mtime_ns
    (folder / "late.txt").write_text("here at last")
    choose(page, "Retry", "Retry")
    await_state(page, ui, run, "Completed")
    again = Counter(tasks(run, 6)) - Counter(before)
    assert again == Counter([("first", "Cached"), ("late", "Completed"), ("last", "Completed")])
    assert first.stat().st_mtime_ns == written_at
    assert first.with_name("last.txt").read_text() == "here at last"


def test_press_cancel_and_go_on_later(page: Page, folder: Path, ui: str, gate: Gate) -> None:
    run = start(plan=gate.plan("stood"))
    page.goto(f"{ui}/runs/flow-run/{run}")
    until_now(lambda: gate.held("stood") or None, "the nodes that are held")
    expect(page.get_by_text("Running", exact=True).first).to_be_visible()
    choose(page, "Cancel", "Cancel Flow Run")
    await_state(page, ui, run, "Cancelled")
    assert Counter(state for _, state in tasks(run, 3 * WIDTH)) == {"Completed": WIDTH, "Cancelled": 2 * WIDTH}
    gate.opened.set()
    resumed = start(plan=gate.plan("stood"), resume_from=str(run))
    await_state(page, ui, resumed, "Completed")
    assert Counter(tasks(resumed, 3 * WIDTH)) == Counter(
        (f"{kind}-stood-{index}", state)
        for kind, state in (("first", "Cached"), ("held", "Completed"), ("last", "Completed"))
        for index in range(WIDTH)
    )
    assert gate.times("stood") == {"first": WIDTH, "held": 2 * WIDTH, "last": WIDTH}
