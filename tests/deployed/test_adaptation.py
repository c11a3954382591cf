"""A deployed run that adapts: each further attempt is a run of the same deployment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateName,
)

from tests.deployed.api import deployment_id, ended, process, trigger, until
from tests.deployed.plans import plan, tool
from tests.replanning.runs import SLUGGISH_FILE
from vibe_prefect.engine.runs.load_report import load_report

pytestmark = [pytest.mark.server, pytest.mark.storm]


async def test_deployed_run_adapts_by_a_further_run_of_its_deployment(prefect_server: str, folder: Path) -> None:
    (folder / "tools.py").write_text(SLUGGISH_FILE)
    slow = tool("slow", "sluggish", {}, policy={"timeout": 1})
    aside = tool("aside", "template_fill", {"template": "x"})
    (folder / "adapts.json").write_text(json.dumps(plan("adapts", slow, aside)))
    prefix = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
    settings = {f"{prefix}TOOLS": str(folder / "tools.py"), f"{prefix}STORAGE": str(folder / "records")}
    with process(folder, prefect_server, "serve", "adapts.json", ready="serving;", **settings):
        async with get_client() as client:
            first = await ended(client, await trigger(client, "adapts", adapt=2))
            assert first.state_name == "Failed"
            completed = FlowRunFilterState(name=FlowRunFilterStateName(any_=["Completed"]))
            of_plan = FlowRunFilterDeploymentId(any_=[await deployment_id(client, "adapts")])

            async def second() -> str | None:
                found = await client.read_flow_runs(
                    flow_run_filter=FlowRunFilter(deployment_id=of_plan, state=completed)
                )
                return found[0].name if found else None

            name = await until(second, "the second attempt")
            report = await load_report(name, folder / "records")
    assert [attempt.run_name for attempt in report.attempts] == [first.name, name]
    assert [(node.id, node.reused) for node in report.nodes] == [("slow", False), ("aside", True)]
    assert report.plan.root_nodes[0].policy.timeout == 2
