"""What is refused before a deployment is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.actions import DeploymentCreate, WorkPoolCreate
from pydantic import ValidationError

from tests.plans import node, plan
from vibe_prefect import PlanError, UsageError
from vibe_prefect.engine.deploy.deployment_checks import check_content, check_folder, check_name, check_pool_name

REFUSED = [
    "a/b",
    "a%b",
    "a&b",
    "a<b",
    "a>b",
    "",
    "  ",
    "''",
    "a\nb",
    "a\x7fb",
    "a\u2028b",
    "why?",
    "#1",
    ".",
    "..",
    "a\\b",
]
ALLOWED = ["nightly digest", "übung", "每日", "x" * 300, "a.b", "v1:2", "it's", "{{ name }}"]


@pytest.mark.parametrize("name", REFUSED)
def test_deployment_name_that_prefect_could_not_use_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--name .* cannot be a name: it "):
        check_name("--name", name)


@pytest.mark.parametrize("name", ALLOWED)
def test_deployment_name_that_is_only_unusual_is_taken(name: str) -> None:
    check_name("--name", name)
    check_pool_name("--pool", name)


@pytest.mark.parametrize("name", ["prefect", "Prefect-x", "PREFECT:y"])
def test_pool_name_that_prefect_keeps_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Prefect keeps those that begin with 'prefect'"):
        check_pool_name("--pool", name)
    check_name("--name", name)


@pytest.mark.parametrize("character", "/%&<>")
def test_name_checks_follow_prefects_own_rule(character: str) -> None:
    with pytest.raises(ValidationError):
        DeploymentCreate.model_validate({"name": f"a{character}b", "flow_id": "0" * 32})
    with pytest.raises(ValidationError):
        WorkPoolCreate.model_validate({"name": f"a{character}b", "type": "process"})


@pytest.mark.parametrize("folder", ["/srv/{{ name }}", "/srv/{{x}}/plans", "/srv/a{{b"])
def test_folder_that_prefect_would_fill_in_is_refused(folder: str) -> None:
    with pytest.raises(UsageError, match=r"--working-dir .* has '\{\{' in it"):
        check_folder("--working-dir", Path(folder))


@pytest.mark.parametrize("folder", ["/srv/{ name }", "/srv/übung & more", "/srv/}} {"])
def test_folder_that_is_only_unusual_is_taken(folder: str) -> None:
    check_folder("--working-dir", Path(folder))


KIND = {"__prefect_kind": "json", "value": "1"}
CONTENTS: list[tuple[Any, str]] = [
    ({"content": KIND}, "root_nodes[0].parameters.tool_inputs.content"),
    ({"content": {"a": [0, {"b": KIND}]}}, "root_nodes[0].parameters.tool_inputs.content.a[1].b"),
    (KIND, "root_nodes[0].parameters.tool_inputs"),
]


@pytest.mark.parametrize(("inputs", "place"), CONTENTS)
def test_content_that_the_server_would_replace_is_refused(inputs: Any, place: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_content(plan(node("a", parameters={"tool_inputs": inputs})))
    (problem,) = caught.value.problems
    assert problem.field == place
    assert "'__prefect_kind' is Prefect's own" in problem.message


def test_content_that_only_mentions_the_key_is_taken() -> None:
    check_content(plan(node("a", parameters={"tool_inputs": {"content": "__prefect_kind", "prefect_kind": "json"}})))
