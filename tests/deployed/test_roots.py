"""Runs that others start, by the form or the API, stay in the folders of whoever serves or deploys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from tests.cli.command import call as command
from tests.deployed.api import call, ended, process, trigger
from tests.deployed.plans import plan, tool

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm]

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
CANARY = "canary-5e1f"


def copying(id: str, path: str = "a.txt") -> dict[str, Any]:
    """A plan that reads a file and writes what it says."""
    read = tool("read", "read_text", {"path": path})
    return plan(id, read, tool("write", "write_file", {"path": "b.txt", "content": "{{ outputs.read.text }}"}, "read"))


async def test_what_the_form_says_only_narrows_what_is_served(prefect_server: str, folder: Path) -> None:
    """An attacker fills in the form: the environment, a file's content, and other folders stay out of reach."""
    work, away = folder / "work", folder / "away"
    (work / "texts").mkdir(parents=True)
    (work / "texts" / "a.txt").write_text("hello")
    away.mkdir()
    (away / "served-roots.json").write_text(json.dumps(copying("served-roots", "texts/a.txt")))
    (away / "private.yaml").write_text(f"password: {CANARY}\n")
    environ = copying("served-roots", "self/environ")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"input_root": "/proc", "plan": environ}, "INPUT_ROOT"),
        ({"output": "../away"}, "OUTPUT"),
        ({"plan": str(away / "private.yaml")}, "PLAN_ROOTS"),
    ]
    before = sorted(away.rglob("*"))
    with process(work, prefect_server, "serve", "../away/served-roots.json", ready="serving", CANARY=CANARY):
        async with get_client() as client:
            run = await ended(client, await trigger(client, "served-roots"))
            assert run.state_name == "Completed", "a served file runs wherever it lies"
            narrowed = {"plan": copying("served-roots"), "input_root": "texts", "output": "outputs/mine"}
            run = await ended(client, await trigger(client, "served-roots", **narrowed))
            assert run.state_name == "Completed", run.state
            runs = [await trigger(client, "served-roots", **parameters) for parameters, _ in refused]
            for id, (_, setting) in zip(runs, refused, strict=True):
                run = await ended(client, id)
                assert run.state is not None
                assert run.state_name == "Failed"
                assert f"{PREFIX}{setting} of its worker" in (run.state.message or "")
                assert CANARY not in str(run)
            logs = (await client.request("POST", "/logs/filter", json={"limit": 200})).text
    assert CANARY not in logs + (work / "serve.log").read_text()
    assert sorted(away.rglob("*")) == before
    assert [path.read_text() for path in (work / "outputs" / "mine").rglob("b.txt")] == ["hello"]
    # Nor does a resume on the operator's own machine take over what the form said.
    resumed = command("resume", str(runs[0]), cwd=work, extra={"PREFECT_API_URL": prefect_server})
    assert (resumed.code, resumed.out) == (2, "")
    assert f"{PREFIX}INPUT_ROOT" in resumed.err


async def test_a_deployment_holds_the_folders_that_were_set_where_it_was_made(
    prefect_server: str, folder: Path
) -> None:
    texts, made = folder / "texts", folder / "made"
    texts.mkdir()
    (texts / "a.txt").write_text("hello")
    (folder / "work").mkdir()
    (folder / "pinned.json").write_text(json.dumps(copying("pinned")))
    set_here = {f"{PREFIX}INPUT_ROOT": str(texts), f"{PREFIX}OUTPUT": str(made)}
    arguments = ("deploy", "pinned.json", "--pool", "roots", "--working-dir", "work")
    deployed = call(folder, prefect_server, *arguments, **set_here)
    assert deployed.returncode == 0, deployed.stderr
    with process(folder, prefect_server, "worker", "start", "--pool", "roots", ready="started!"):
        async with get_client() as client:
            for parameters in ({}, {"input_root": ".", "output": "outputs"}):
                run = await ended(client, await trigger(client, "pinned", **parameters))
                assert run.state_name == "Completed", run.state
            assert run.parameters["output"] == str(made)
            run = await ended(client, await trigger(client, "pinned", input_root=str(folder)))
            assert run.state_name == "Failed"
    assert len(list(made.rglob("b.txt"))) == 2
    assert list((folder / "work").iterdir()) == []
