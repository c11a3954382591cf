"""Plans as values: what the reference writes loads and comes back, and what is no plan is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from tests.paths import DATA
from tests.plans import node, plan
from vibe_prefect import NodePolicy, Vibe, WorkflowNode, WorkflowNodeType, WorkflowPlan, load_plan

REFERENCE_PLANS = ["mixed-55.json", "sci-fi-trailer.json", "web-feature.json"]


def as_written(value: Any, template: Any) -> Any:
    """Return `value` with only those keys of its mappings that the template has."""
    if isinstance(template, Mapping):
        return {key: as_written(value[key], part) for key, part in cast("Mapping[str, Any]", template).items()}
    if isinstance(template, list):
        parts = cast("list[Any]", template)
        assert len(value) == len(parts)
        return [as_written(item, part) for item, part in zip(value, parts, strict=True)]
    return value


@pytest.mark.parametrize("name", REFERENCE_PLANS)
def test_a_plan_of_the_reference_loads_and_dumps_to_the_same_values(name: str) -> None:
    text = (DATA / name).read_text()
    written: dict[str, Any] = json.loads(text)
    loaded = WorkflowPlan.model_validate_json(text)
    assert as_written(json.loads(loaded.model_dump_json()), written) == written
    assert as_written(loaded.model_dump(mode="json"), written) == written


@pytest.mark.parametrize("name", REFERENCE_PLANS)
def test_both_ways_of_loading_give_the_same_plan(name: str) -> None:
    assert load_plan(DATA / name).plan == WorkflowPlan.model_validate_json((DATA / name).read_text())


@pytest.mark.parametrize("name", REFERENCE_PLANS)
def test_a_plan_survives_its_own_json(name: str) -> None:
    loaded = WorkflowPlan.model_validate_json((DATA / name).read_text())
    assert WorkflowPlan.model_validate_json(loaded.model_dump_json()) == loaded


def test_a_policy_survives_json() -> None:
    subject = plan(
        node("a", policy={"retries": 2, "limits": ["one"], "tags": ["x", "y"], "variation": 3}),
        policy={"timeout": 5, "variation": "b"},
    )
    assert WorkflowPlan.model_validate_json(subject.model_dump_json()) == subject


DEFAULTS: list[tuple[BaseModel, dict[str, Any]]] = [
    (
        Vibe(description="d"),
        {"description": "d", "style": None, "constraints": [], "domain": None, "metadata": {}},
    ),
    (
        WorkflowNode(id="a", type=WorkflowNodeType.ANALYZE, description="d"),
        {
            "id": "a",
            "type": WorkflowNodeType.ANALYZE,
            "description": "d",
            "parameters": {},
            "dependencies": [],
            "optional_dependencies": [],
            "when": None,
            "best_of": None,
            "on_error": None,
            "children": [],
            "estimated_duration": None,
            "policy": dict.fromkeys(NodePolicy.model_fields),
            **dict.fromkeys(("for_each", "as", "key", "max_items", "concurrency", "min_completed")),
        },
    ),
    (
        WorkflowPlan(id="p", source_vibe=Vibe(description="d")),
        {
            "id": "p",
            "source_vibe": Vibe(description="d").model_dump(),
            "inputs": {},
            "root_nodes": [],
            "estimated_total_duration": None,
            "created_at": None,
            "policy": dict.fromkeys(NodePolicy.model_fields),
        },
    ),
]


@pytest.mark.parametrize(("model", "expected"), DEFAULTS)
def test_defaults_are_the_contracts(model: BaseModel, expected: dict[str, Any]) -> None:
    assert model.model_dump() == expected


def test_defaults_are_not_shared_between_nodes() -> None:
    first, second = node("a"), node("b")
    first.dependencies.append("x")
    first.children.append(second)
    first.parameters["y"] = 1
    assert (second.dependencies, second.children, second.parameters) == ([], [], {})


def test_every_policy_field_is_inherited_unless_written() -> None:
    assert all(field.default is None for field in NodePolicy.model_fields.values())
    assert {name for name, value in NodePolicy() if value is not None} == set()
    assert NodePolicy(retries=0).model_dump(exclude_none=True) == {"retries": 0}


def test_a_policy_is_a_value() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        NodePolicy().retries = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert hash(NodePolicy(tags=("a",))) == hash(NodePolicy(tags=("a",)))


def test_node_types_are_the_contracts() -> None:
    assert {kind.name: kind.value for kind in WorkflowNodeType} == {
        "ANALYZE": "analyze",
        "GENERATE": "generate",
        "TRANSFORM": "transform",
        "VALIDATE": "validate",
        "COMPOSITE": "composite",
    }


def test_a_node_type_is_text() -> None:
    assert node("a", "validate").type == "validate"
    assert f"{WorkflowNodeType.VALIDATE}" == "validate"


@pytest.mark.parametrize(
    ("model", "fields", "place"),
    [
        (Vibe, {"description": "d", "mood": "x"}, ("mood",)),
        (WorkflowNode, {"id": "a", "type": "analyze", "description": "d", "tool": "x"}, ("tool",)),
        (WorkflowNode, {"id": "a", "type": "analyze", "description": "d", "policy": {"retry": 1}}, ("policy", "retry")),
        (WorkflowPlan, {"id": "p", "source_vibe": {"description": "d"}, "nodes": []}, ("nodes",)),
        (NodePolicy, {"priority": 1}, ("priority",)),
    ],
)
def test_an_unknown_field_is_refused(model: type[BaseModel], fields: dict[str, Any], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    assert [(error["type"], error["loc"]) for error in caught.value.errors()] == [("extra_forbidden", place)]


@pytest.mark.parametrize(
    "fields",
    [
        {"retries": -1},
        {"retries": 51},
        {"retries": 1.5},
        {"retry_delay": -0.1},
        {"retry_delay": float("inf")},
        {"retry_backoff": 0.5},
        {"retry_backoff": 11},
        {"retry_jitter": 1.1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"limits": "one"},
        {"tags": [1]},
        {"variation": [1]},
    ],
    ids=str,
)
def test_a_policy_out_of_bounds_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NodePolicy.model_validate(fields)


@pytest.mark.parametrize("estimate", [-1, float("inf"), float("nan"), "soon"])
def test_an_estimate_is_a_finite_number_of_seconds(estimate: Any) -> None:
    with pytest.raises(ValidationError):
        node("a", estimated_duration=estimate)


def test_an_estimate_may_be_zero() -> None:
    assert node("a", estimated_duration=0).estimated_duration == 0
