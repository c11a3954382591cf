"""A person at the Prefect UI: fills in the form, runs it, looks at the graph, retries, and reads what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Locator, Page, expect
from prefect.client.orchestration import SyncPrefectClient, get_client

from tests.browsers import running_browser
from tests.deployed.api import call, process
from tests.deployed.plans import incomplete, plan, written

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE = 40_000.0
"""Milliseconds that anything on a page may take."""

POOL = "browser"


@pytest.fixture(scope="module")
def page() -> Generator[Page]:
    with running_browser() as browser:
        opened = browser.new_page(viewport={"width": 1400, "height": 1800})
        opened.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield opened


@pytest.fixture(scope="module")
def folder(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """The folder of a worker, and a deployment without a plan of its own."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "any.json").write_text(json.dumps(written("any")))
    deployed = call(folder, prefect_server, "deploy", "any.json", "--pool", POOL)
    assert deployed.returncode == 0, deployed.stderr
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name("run-plan/any")
        path = {"id": found.id}
        client.request("PATCH", "/deployments/{id}", path_params=path, json={"parameters": {}}).raise_for_status()
    with process(folder, prefect_server, "worker", "start", "--pool", POOL, ready="started!"):
        yield folder


def open_form(page: Page, api: str) -> None:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("run-plan/any").id
    page.goto(f"{api.removesuffix('/api')}/deployments/deployment/{deployment}/run")
    page.get_by_text("Root Nodes").first.wait_for()


def field(page: Page, name: str, number: int, kinds: str = "self::input or self::textarea") -> Locator:
    """The so manieth field of the form with a name, counted from 0."""
    title = page.locator(".schema-form-property__label", has_text=re.compile(f"^{name}$"))
    label = page.locator("label").filter(has=title).nth(number)
    return label.locator(f"xpath=following::*[{kinds}]").first


def fill_node(page: Page, number: int, id: str, kind: str) -> None:
    """Fill in the so manieth node of the form; the plan's own fields come before the first."""
    field(page, "Id", number).fill(id)
    field(page, "Description", number).fill(f"do {id}")
    field(page, "Type", number - 1, "contains(@class, 'p-select-button__control')").focus()
    page.keyboard.press("ArrowDown")
    page.locator(".p-select-option__text", has_text=re.compile(f"^{kind}$")).click()


def submit(page: Page) -> UUID:
    page.get_by_role("button", name="Submit").click()
    link = page.locator("a[href*='/runs/flow-run/']").first
    link.wait_for()
    return UUID(re.findall(r"flow-run/([0-9a-f-]{36})", link.get_attribute("href") or "")[0])


def await_state(page: Page, run: UUID, api: str, state: str) -> None:
    page.goto(f"{api.removesuffix('/api')}/runs/flow-run/{run}")
    expect(page.get_by_text(state, exact=True).first).to_be_visible()


def edges(client: SyncPrefectClient, run: UUID) -> set[tuple[str, str]]:
    graph = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": run}).json()
    nodes = dict(graph["nodes"])
    return {(nodes[parent["id"]]["label"], node["label"]) for node in nodes.values() for parent in node["parents"]}


def start(plan: dict[str, Any]) -> UUID:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("run-plan/any").id
        return client.create_flow_run_from_deployment(deployment, parameters={"plan": plan}).id


def test_fill_in_the_form_run_it_and_see_the_graph(page: Page, folder: Path, prefect_server: str) -> None:
    open_form(page, prefect_server)
    expect(page.get_by_text("The wish that the plan was made from.")).to_be_visible()
    field(page, "Id", 0).fill("by-hand")
    field(page, "Description", 0).fill("Made by hand")
    add = page.get_by_role("button", name="Add item")
    add.nth(1).click()
    fill_node(page, 1, "parent", "composite")
    add.nth(2).click()
    fill_node(page, 2, "child", "composite")
    run = submit(page)
    await_state(page, run, prefect_server, "Completed")
    expect(page.locator("canvas").first).to_be_visible()
    with get_client(sync_client=True) as client:
        assert edges(client, run) == {("parent", "child")}
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).first.click()


def retry(page: Page) -> None:
    button: Locator = page.get_by_role("button", name="Retry")
    button.first.click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()


def test_press_retry_and_only_what_failed_is_executed(page: Page, folder: Path, prefect_server: str) -> None:
    run = start(incomplete("broken"))
    await_state(page, run, prefect_server, "Failed")
    (first,) = folder.glob("outputs/broken/*/first.txt")
    written_at = first.stat().st_mtime_ns
    (folder / "late.txt").write_text("here at last")
    retry(page)
    await_state(page, run, prefect_server, "Completed")
    assert first.stat().st_mtime_ns == written_at
    assert first.with_name("last.txt").read_text() == "here at last"


def test_an_invalid_plan_says_what_is_wrong_with_it(page: Page, folder: Path, prefect_server: str) -> None:
    node = {"id": "a", "type": "generate", "description": "x", "parameters": {"tool": "template_fil"}}
    run = start(plan("wrong", node))
    await_state(page, run, prefect_server, "Failed")
    expect(page.get_by_text("did you mean 'template_fill'?").first).to_be_visible()
