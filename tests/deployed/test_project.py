"""`prefect.yaml` on a server that has nothing yet: everything is deployed, executed, and retried."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry

from tests.deployed.api import (
    assert_runs_alone_by_the_clock,
    ended,
    environment,
    process,
    task_runs,
    until,
)
from tests.deployed.plans import plan
from tests.paths import ROOT

pytestmark = [pytest.mark.server, pytest.mark.slow]

DEPLOYMENTS = {
    "run-plan/run-plan",
    "run-plan/farm",
    "run-plan/nightly-digest",
    "release-digest/release-digest",
}

WITHOUT_A_PLAN = "run-plan/farm"
"""The deployment to which other runs send nodes of their plans."""


@pytest.fixture(scope="module")
def project(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A copy of the project, all of it deployed, and a worker in it."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "flows", folder / "flows")
    for name in ("prefect.yaml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder / name)
    env = environment(prefect_server, folder, PWD=str(folder))  # as a shell sets it
    prefect = str(Path(sys.executable).with_name("prefect"))
    for command in (
        ["work-pool", "create", "--type", "process", "--overwrite", "vibe-prefect-pool"],
        ["work-pool", "create", "--type", "process", "--overwrite", "vibe-prefect-farm"],
        ["deploy", "--all", "--no-prompt"],
    ):
        ran = subprocess.run([prefect, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    with process(folder, prefect_server, "worker", "start", ready="started!"):
        yield folder


async def start(client: PrefectClient, name: str, **parameters: Any) -> UUID:
    deployment = await client.read_deployment_by_name(name)
    return (await client.create_flow_run_from_deployment(deployment.id, parameters=parameters)).id


def message_of(run: FlowRun) -> str:
    assert run.state is not None
    return run.state.message or ""


async def retried(client: PrefectClient, run: UUID) -> FlowRun:
    """Retry a run as the button in the UI does it, and return it when it has ended again."""
    await client.set_flow_run_state(run, AwaitingRetry(), force=True)

    async def look() -> FlowRun | None:
        found = await client.read_flow_run(run)
        return found if found.run_count == 2 and found.state and found.state.is_final() else None

    return await until(look, "the end of the retry")


async def test_every_deployment_runs_with_its_own_parameters(project: Path) -> None:
    async with get_client() as client:
        runs = {name: await start(client, name) for name in sorted(DEPLOYMENTS - {WITHOUT_A_PLAN})}
        for name, run in runs.items():
            found = await ended(client, run)
            assert found.state is not None
            assert found.state.is_completed(), f"{name}: {found.state.message}"
    assert {path.name for path in project.glob("outputs/release-digest/*/*.md")} >= {"blog.md"}
    assert len(list(project.glob("outputs/release-digest/*"))) == 2


async def test_the_nightly_one_has_a_schedule_and_does_not_pile_up(project: Path) -> None:
    async with get_client() as client:
        nightly = await client.read_deployment_by_name("run-plan/nightly-digest")
    assert_runs_alone_by_the_clock(nightly, "30 2 * * *")


async def test_a_wrong_plan_fails_with_every_problem_in_the_message(project: Path) -> None:
    node = {"id": "a", "type": "generate", "description": "x", "parameters": {"tool": "template_fil"}}
    wrong = plan("wrong", {**node, "dependencies": ["nope"]}, {**node, "id": "b", "dependencies": ["b"]})
    misshapen: dict[str, Any] = {**plan("misshapen", {"id": "a", "type": "generat", "description": "x"}), "nodes": []}
    answers: list[tuple[Any, tuple[str, ...]]] = [
        (wrong, ("plan 'wrong' has ", "'nope'", "did you mean 'template_fill'?", "b -> b")),
        (misshapen, ("plan 'misshapen' has 2 problems", "did you mean 'generate'?", "nodes: ")),
        ("flows/plans/none.yaml", ("cannot be read",)),
    ]
    async with get_client() as client:
        runs = [await start(client, "run-plan/run-plan", plan=given) for given, _ in answers]
        for run, (_, parts) in zip(runs, answers, strict=True):
            found = await ended(client, run)
            assert found.state_name == "Failed"
            assert [part for part in parts if part not in message_of(found)] == []
            assert await task_runs(client, found.id) == [], "nothing was begun"


async def test_the_demo_flow_goes_on_when_it_is_retried(project: Path) -> None:
    async with get_client() as client:
        run = await start(client, "release-digest/release-digest", changelog="news.md", output="outputs/retried")
        assert (await ended(client, run)).state_name == "Failed"
        shutil.copy(project / "CHANGELOG.md", project / "news.md")
        found = await retried(client, run)
        assert found.state_name == "Completed", message_of(found)
    assert len(list(project.glob("outputs/retried/release-digest/*"))) == 1
