"""What the flow's parameter `plan` may be, how its form explains itself, and what it says of a wrong plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from tests.plans import node, plan
from vibe_prefect import PlanError, run_plan
from vibe_prefect.engine.inputs.plan_block import WorkflowPlanBlock, save_plan
from vibe_prefect.engine.inputs.plan_parameter import given_plan
from vibe_prefect.errors import UnknownPlanError

ORDER = [
    "plan",
    "resume_from",
    "select",
    "exclude",
    "refresh",
    "reuse",
    "concurrency",
    "run_on",
    "simulate",
    "input_root",
    "output",
    "budget_usd",
    "max_tokens",
    "without_model",
    "adapt",
    "replan_by",
    "inputs",
]
TEXT = """\
id: stored  # by its author
source_vibe: {description: A wish}
root_nodes:
  - {id: a, type: composite, description: do a}
"""


def test_the_form_explains_itself() -> None:
    schema = parameter_schema(run_plan).model_dump()
    properties: dict[str, Any] = schema["properties"]
    assert sorted(properties, key=lambda name: properties[name]["position"]) == ORDER
    assert schema["required"] == ["plan"]
    for name, about in properties.items():
        assert about["title"] != name, f"{name} has no title of its own"
        assert about["description"].endswith(".")
    assert [part.get("title", part.get("$ref")) for part in properties["plan"]["anyOf"]] == [
        "Stored plan, file or text",
        "#/definitions/WorkflowPlan",
        "JSON",
    ]
    for definition in ("WorkflowPlan", "WorkflowNode", "Vibe", "NodePolicy"):
        fields = schema["definitions"][definition]["properties"]
        assert [name for name, about in fields.items() if not about.get("description")] == []


@pytest.mark.parametrize("given", [{"nodes": []}, {"id": "p", "root_nodes": [{"type": "generat"}]}, [], 5, "no.yaml"])
def test_no_plan_is_refused_by_the_servers_check_whose_message_would_hold_all_of_it(given: Any) -> None:
    assert validate({"plan": given}, parameter_schema(run_plan).model_dump()) == []


@pytest.mark.server
async def test_every_way_to_give_a_plan_leads_to_it(prefect_server: str, folder: Path) -> None:
    (folder / "plan.yaml").write_text(TEXT)
    async with get_client() as client:
        assert await save_plan(client, "kept", TEXT)
        assert not await save_plan(client, "kept", TEXT)
        data = json.loads(plan(node("a", "composite"), id="stored").model_dump_json())
        for value in (data, "plan.yaml", "./plan.yaml", "kept", " kept ", TEXT, WorkflowPlanBlock(plan=TEXT)):
            assert (await given_plan(value, client)).plan.id == "stored"
        with pytest.raises(UnknownPlanError, match="no plan is stored as 'kept-2'; did you mean 'kept'"):
            await given_plan("kept-2", client)


WRONG: list[tuple[Any, str]] = [
    (None, "found nothing"),
    (3, "found int"),
    ("", "found nothing"),
    ("none.yaml", "cannot be read"),
    ({"id": "p", "root_nodes": [{"id": "a", "type": "generat"}]}, "did you mean 'generate'"),
    ("id: [\nx: 1", "not YAML"),
]


@pytest.mark.server
@pytest.mark.parametrize(("value", "reason"), WRONG)
async def test_what_is_no_plan_is_refused(value: Any, reason: str, prefect_server: str, folder: Path) -> None:
    async with get_client() as client:
        with pytest.raises(PlanError, match=reason):
            await given_plan(value, client)


@pytest.mark.server
def test_a_bad_plan_is_not_stored(prefect_server: str) -> None:
    with pytest.raises(PlanError, match="stored plan 'bad'"):
        cast("Any", WorkflowPlanBlock(plan="id: 3")).save("bad", _sync=True)


@pytest.mark.server
async def test_a_run_of_a_stored_plan_keeps_what_it_ran(prefect_server: str, folder: Path) -> None:
    async with get_client() as client:
        await save_plan(client, "changing", TEXT)
        state: Any = await cast("Any", run_plan)("changing", return_state=True)
        await save_plan(client, "changing", TEXT.replace("id: a", "id: b"))
        run = await client.read_flow_run(state.state_details.flow_run_id)
    assert state.is_completed()
    assert run.name.startswith("stored-")
    assert run.parameters["plan"]["root_nodes"][0]["id"] == "a"


@pytest.mark.server
async def test_every_problem_is_in_the_states_message(prefect_server: str, folder: Path) -> None:
    wrong: dict[str, Any] = {
        "id": "wrong",
        "source_vibe": {},
        "root_nodes": [{"id": "a", "type": "x", "description": 1}],
    }
    state: Any = await cast("Any", run_plan)(wrong, return_state=True)
    assert state.is_failed()
    assert state.message.startswith("plan 'wrong' has 3 problems:")
    assert "node 'a', type: expected one of analyze, generate" in state.message


WRONG_FIELDS: list[tuple[dict[str, Any], list[str]]] = [
    ({"concurrency": 0}, ["Concurrency (concurrency): expected at least 1, found 0"]),
    (
        {"concurrency": "many", "budget_usd": -3},
        [
            "Concurrency (concurrency): expected a whole number, found 'many'",
            "Budget in US dollars (budget_usd): expected more than 0.0, found -3",
        ],
    ),
    ({"select": {"a": 1}}, ["Only these nodes (select): expected text, found {'a': 1}"]),
]


@pytest.mark.parametrize("given", ["nightly-digest", {"id": "p"}])
@pytest.mark.parametrize(("options", "lines"), WRONG_FIELDS)
def test_wrong_field_of_the_form_is_named_in_words(given: Any, options: dict[str, Any], lines: list[str]) -> None:
    defaults = dict.fromkeys(("resume_from", "select", "exclude", "refresh", "budget_usd", "max_tokens"))
    with pytest.raises(ParameterTypeError) as caught:
        run_plan.validate_parameters({"plan": given, **defaults, **options})
    assert str(caught.value).splitlines() == lines
