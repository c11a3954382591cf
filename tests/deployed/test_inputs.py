"""Inputs of deployed plans: fields of their form, checked by Prefect's server, with values of the deployment."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectHTTPStatusError

from tests.deployed.api import call, ended, ignored_hang_ups, process, trigger, until
from tests.deployed.plans import plan, tool
from vibe_prefect.engine.deploy.deployments import deployment_of
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.prefect_seam.meanings import schedule_of
from vibe_prefect.engine.runs.inherited import run_facts

pytestmark = [pytest.mark.server, pytest.mark.slow]

DECLARED = {
    "product": {"type": "string", "title": "The product"},
    "locales": {"type": "array", "items": {"type": "string"}, "default": ["en"]},
    "words": {"type": "integer", "minimum": 1, "default": 50},
}


def write(folder: Path, id: str) -> str:
    text = "{{ inputs.product }} {{ inputs.locales | join('+') }} {{ inputs.words }} {{ run.timezone }}"
    path = folder / f"{id}.json"
    path.write_text(
        json.dumps({**plan(id, tool("t", "write_file", {"path": "t.txt", "content": text})), "inputs": DECLARED})
    )
    return path.name


async def test_a_served_plan_shows_its_inputs_takes_those_of_a_run_first_and_goes_on_after_a_hang_up(
    prefect_server: str, folder: Path
) -> None:
    name = write(folder, "with-inputs")
    serving = process(folder, prefect_server, "serve", name, "--set", "words=7", ready="serving;")
    with ignored_hang_ups(), serving as served:
        served.send_signal(signal.SIGHUP)
        async with get_client() as client:
            deployment = await deployment_of(client, "with-inputs")
            assert deployment is not None
            assert deployment.parameters["inputs"] == {"words": 7}
            form = (deployment.parameter_openapi_schema or {})["properties"]["inputs"]
            assert (form["required"], form["position"]) == (["product"], 0)
            assert form["properties"]["product"]["title"] == "The product"
            assert form["properties"].keys() == {"product"}
            assert form["patternProperties"]["^words$"] == {
                "title": "Words",
                "type": "integer",
                "minimum": 1,
                "default": 7,
                "position": 2,
            }
            with pytest.raises(PrefectHTTPStatusError, match="409"):
                await trigger(client, "with-inputs", inputs={"product": "Tea", "words": "many"})
            with pytest.raises(PrefectHTTPStatusError, match="409"):
                await trigger(client, "with-inputs", inputs={"product": "Tea", "wrods": 5})
            given: dict[str, Any] = {"inputs": {"product": "Tea"}, "concurrency": 4, "max_tokens": 9}
            run = await ended(client, await trigger(client, "with-inputs", **given, options={"concurrency": 2}))
            assert run.state_name == "Completed", run.state
            assert run.parameters["inputs"] == {"product": "Tea", "words": 7}
            assert (run.parameters["concurrency"], run.parameters["max_tokens"]) == (2, 9)
            assert "options" not in run.parameters
    assert [path.read_text() for path in folder.glob("outputs/with-inputs/*/t.txt")] == ["Tea en 7 UTC"]


async def test_a_schedule_needs_every_input_and_a_renewed_deployment_keeps_them(
    prefect_server: str, folder: Path
) -> None:
    name = write(folder, "by-clock")
    refused = call(folder, prefect_server, "deploy", name, "--cron", "0 6 * * *")
    assert refused.returncode == 2
    assert "product: missing; it is required (string); give it, as in --set product=..." in refused.stderr
    (folder / "in.yaml").write_text("product: Coffee\nlocales: [de]\n")
    options = ("--cron", "0 6 * * *", "--timezone", "Europe/Berlin")
    made = call(folder, prefect_server, "deploy", name, *options, "--inputs", "in.yaml", "--set", "product=Tea")
    assert made.returncode == 0, made.stderr
    assert 'inputs   product="Tea", locales=["de"]' in made.stdout
    renewed = call(folder, prefect_server, "deploy", name, "--set", "locales=en,fr")
    assert renewed.returncode == 0, renewed.stderr
    async with get_client() as client:
        deployment = await deployment_of(client, "by-clock")
    assert deployment is not None
    assert deployment.parameters["inputs"] == {"product": "Tea", "locales": ["en", "fr"]}
    assert "inputs" not in (deployment.parameter_openapi_schema or {})["required"]
    async with get_client() as client:

        async def planned() -> FlowRun | None:
            of_it = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
            found = await client.read_flow_runs(flow_run_filter=of_it)
            return found[0] if found else None

        run = await until(planned, "a run by the schedule")
        assert schedule_of(run) == (deployment.id, deployment.schedules[0].id)
        facts = (await run_facts(client, PastRun.of(run))).values()
        assert facts["timezone"] == "Europe/Berlin"
        assert facts["scheduled_for"][10:] in ("T06:00:00+01:00", "T06:00:00+02:00")
        assert PastRun.of(await client.read_flow_run(run.id)).facts.values() == facts
