"""The flow that plans a wish of a form, shows the plan, and runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from prefect import flow as prefect_flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound

from flows import generate_from_vibe as generate
from flows.generate_from_vibe import generate_from_vibe, read, written
from tests.deployed.api import ended, environment, in_state, stop, until
from tests.paths import ROOT
from tests.planning.answers import TEXT, answer, planner_of, saved_by
from tests.plans import node, plan
from tests.providers.openai_server import KEY, openai_server
from vibe_prefect import Vibe
from vibe_prefect.operations import plan_vibe
from vibe_prefect.plan.plan_yaml import plan_yaml

GOOD = answer()
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


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.storm
async def test_a_deployed_run_waits_for_the_approval_of_its_plan_and_plans_once(
    prefect_server: str, tmp_path: Path
) -> None:
    asked: list[str] = []

    def reply(body: dict[str, Any]) -> str:
        asked.append(str(body["messages"]))
        return GOOD if "You plan how content is made" in asked[-1] else TEXT

    with openai_server() as provider:
        provider.reply = reply
        settings = {"VIBE_PREFECT_MODEL": "openai:ok", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.base_url}
        with served(tmp_path, prefect_server, **settings):
            async with get_client() as client:

                async def deployed() -> UUID | None:
                    try:
                        return (await client.read_deployment_by_name("generate-from-vibe/generate")).id
                    except ObjectNotFound:
                        return None

                deployment = await until(deployed, "the deployment")
                ends: dict[str, FlowRun] = {}
                for decision in ("approve", "reject"):
                    parameters = {"description": f"A post to {decision}", "approve": True}
                    run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
                    await in_state(client, run.id, "Suspended")
                    plans = [text for text in asked if "You plan how content is made" in text]
                    assert len(plans) == len(ends) + 1
                    answer = {"decision": decision, "by": "Ann Lee", "comment": "as agreed"}
                    await client.resume_flow_run(run.id, run_input=answer)
                    ends[decision] = await ended(client, run.id)
    assert ends["approve"].state_name == "Completed"
    assert ends["reject"].state_name == "Rejected"
    assert ends["reject"].state is not None
    assert ends["reject"].state.message == "the plan was rejected by Ann Lee. as agreed"
    assert len([text for text in asked if "You plan how content is made" in text]) == 2
    assert len(list(tmp_path.glob("outputs/*/*/post.md"))) == 1
