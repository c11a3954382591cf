"""The form of a deployed plan: its inputs, the folded options, and what Prefect's server makes of values."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from vibe_prefect import run_plan
from vibe_prefect.engine.deploy.compact_form import compact_form
from vibe_prefect.engine.deploy.deployments import PlanDeployment
from vibe_prefect.run.run_options import RunOptions

DECLARED = {"product": {"type": "string"}, "words": {"type": "integer", "minimum": 1, "default": 50}}


def form(**stated: Any) -> dict[str, Any]:
    return compact_form(parameter_schema(run_plan), DECLARED, stated).model_dump()


def test_form_has_inputs_and_one_folded_field_with_every_option() -> None:
    inputs, options = form()["properties"].items()
    assert (inputs[0], inputs[1]["position"]) == ("inputs", 0)
    assert (options[0], options[1]["position"]) == ("options", 1)
    folded, chosen = options[1]["anyOf"]
    assert "properties" not in folded, "its tab, the first, is empty"
    by_place = sorted(chosen["properties"], key=lambda name: chosen["properties"][name]["position"])
    assert by_place == [*(name for name in RunOptions.model_fields if name != "inputs"), "plan"]
    for field in chosen["properties"].values():
        assert "default" not in field, "it would be sent before what the deployment says"
        assert "anyOf" not in field, "it would be drawn as tabs"
        assert field["description"].endswith(".")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "'product' is a required property"),
    ({"product": "Tea", "words": 0}, "0 is less than the minimum of 1"),
    ({"product": "Tea", "wrods": 1}, "Additional properties are not allowed ('wrods' was unexpected)"),
]


@pytest.mark.parametrize(("inputs", "message"), REFUSED)
def test_a_wrong_input_is_refused_by_the_server_in_a_few_words(inputs: dict[str, Any], message: str) -> None:
    assert [error.message for error in validate({"inputs": inputs}, form())] == [message]


def test_values_of_the_deployment_need_not_be_given() -> None:
    assert validate({}, form(product="Tea")) == []


OPTIONS: list[dict[str, Any]] = [
    {"concurrency": 0, "simulate": True},
    {"options": {"concurrency": 0}, "simulate": True},
    {"options": {"concurrency": 0, "simulate": True}},
    {"options": {"concurrency": 0}, "concurrency": 9, "simulate": True},
]


@pytest.mark.parametrize("given", OPTIONS)
def test_options_mean_the_same_in_the_group_and_beside_it_where_the_group_goes_before(given: dict[str, Any]) -> None:
    assert validate({"plan": {"nodes": []}, **given}, form(product="Tea")) == [], "the flow answers, in its own words"
    with pytest.raises(ParameterTypeError) as caught:
        run_plan.validate_parameters({"plan": "nightly", **given})
    assert str(caught.value) == "Concurrency (concurrency): expected at least 1, found 0"
    right = {**given, "options": {**given.get("options", {}), "concurrency": 3}}
    checked = run_plan.validate_parameters({"plan": {"id": "p"}, **right})
    assert (checked["concurrency"], checked["simulate"]) == (3, True)


def test_a_group_that_is_no_mapping_is_refused_in_words() -> None:
    with pytest.raises(ParameterTypeError, match=r"Options \(options\): expected a mapping, found 'fast'"):
        run_plan.validate_parameters({"plan": "nightly", "options": "fast"})


def test_deploying_again_keeps_the_options_that_were_chosen_in_the_deployments_own_form() -> None:
    edited = {"plan": {"id": "old"}, "options": {"budget_usd": 2.0, "plan": "another"}, "inputs": {"words": 7}}
    earlier = DeploymentResponse(name="p", flow_id=uuid4(), work_pool_name="pool", parameters=edited, labels={})
    built = PlanDeployment("p", "A wish", {"id": "new"}, earlier=earlier, inputs={"words": 8}).build()
    assert built.parameters == {"plan": {"id": "new"}, "budget_usd": 2.0, "inputs": {"words": 8}}


CAMPAIGN: dict[str, dict[str, Any]] = {
    "product": {"type": "string"},
    "audience": {"type": "string", "default": "all"},
    "words": {"type": "integer", "minimum": 1, "default": 50},
    "channels": {"type": "array", "items": {"type": "string"}, "default": ["blog"]},
}

SHOWN: list[tuple[dict[str, dict[str, Any]], dict[str, Any], list[str]]] = [
    (CAMPAIGN, {}, ["product", "audience"]),
    (CAMPAIGN, {"product": "Tea"}, ["product", "audience"]),
    ({name: CAMPAIGN[name] for name in ("audience", "words", "channels")}, {}, ["audience", "words"]),
    ({name: CAMPAIGN[name] for name in ("channels", "words")}, {}, ["channels"]),
    ({name: {"type": "string"} for name in "abc"}, {}, ["a", "b", "c"]),
    ({**{name: {"type": "string"} for name in "abc"}, "d": CAMPAIGN["words"]}, {}, ["a", "b", "c"]),
]


@pytest.mark.parametrize(("declared", "stated", "shown"), SHOWN)
def test_inputs_that_need_not_be_given_and_do_not_fit_the_screen_are_folded(
    declared: dict[str, dict[str, Any]], stated: dict[str, Any], shown: list[str]
) -> None:
    properties = compact_form(parameter_schema(run_plan), declared, stated).model_dump()["properties"]
    assert list(properties["inputs"]["properties"]) == shown
    folded = [name for name in declared if name not in shown]
    (_, chosen) = properties["options"]["anyOf"]
    assert list(chosen["properties"].get("inputs", {}).get("properties", [])) == folded
    assert all(name.capitalize() in properties["options"]["description"] for name in folded)


FOLDED: list[tuple[dict[str, Any], list[str]]] = [
    ({"inputs": {"product": "Tea", "words": 9}}, []),
    ({"inputs": {"product": "Tea"}, "options": {"inputs": {"words": 9}}}, []),
    ({"inputs": {"product": "Tea", "words": 0}}, ["0 is less than the minimum of 1"]),
    ({"inputs": {"product": "Tea"}, "options": {"inputs": {"words": 0}}}, ["0 is less than the minimum of 1"]),
    (
        {"inputs": {"product": "Tea"}, "options": {"inputs": {"wrods": 9}}},
        ["Additional properties are not allowed ('wrods' was unexpected)"],
    ),
    ({"options": {"inputs": {"words": 9}}}, ["'inputs' is a required property"]),
]


@pytest.mark.parametrize(("given", "messages"), FOLDED)
def test_the_server_checks_folded_inputs_in_either_place(given: dict[str, Any], messages: list[str]) -> None:
    campaign = compact_form(parameter_schema(run_plan), CAMPAIGN, {}).model_dump()
    assert [error.message for error in validate(given, campaign)] == messages


def test_folded_inputs_go_before_those_that_the_deployment_gives() -> None:
    given = {"inputs": {"product": "Tea", "words": 80}, "options": {"inputs": {"words": 9}}}
    checked = run_plan.validate_parameters({"plan": {"id": "p"}, **given})
    assert checked["inputs"] == {"product": "Tea", "words": 9}
