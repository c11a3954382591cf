"""Content keys: what they depend on, what they do not, and that they never change by accident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.paths import ROOT
from tests.plans import node, plan
from vibe_prefect import (
    NodePolicy,
    ToolRegistry,
    Vibe,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
    compile_plan,
    tool,
)
from vibe_prefect.plan.keys import (
    KEY_SCHEMA,
    NODE_FIELDS_IN_KEY,
    NODE_FIELDS_NOT_IN_KEY,
    POLICY_FIELDS_IN_KEY,
    POLICY_FIELDS_NOT_IN_KEY,
    canonical_json,
    node_key,
)
from vibe_prefect.tools import FunctionTool

NESTED: dict[str, Any] = {"n": 1, "text": "ünïcode ✓", "nested": {"z": [1, 2.5, None, True], "a": {}}}

GOLDEN: list[tuple[WorkflowNode, str, str | int | None, list[str], str]] = [
    (node("a"), "simulation", None, [], "f90a543ce3d343adccaf913b5f2abb44fbe046cd949c308008411204bc464804"),
    (
        node("b", "analyze", parameters=NESTED),
        "tool shout 1",
        "second",
        ["0" * 64, "f" * 64],
        "9bf4bd98b585e6e0dfb668384b41d828ede812635b16d94250a8b03ff1c009e7",
    ),
    (
        node("c", "composite", parameters={"big": 2**80, "by": {2: "two", 1: "one"}}),
        "composite",
        7,
        [],
        "f402a08bb2f4c6828d71ee7e3739b985baeff2e93a54f4d25f65d7c27b914766",
    ),
]


@pytest.mark.parametrize(("subject", "work", "variation", "upstream", "key"), GOLDEN)
def test_keys_stay_what_they_are(
    subject: WorkflowNode, work: str, variation: str | int | None, upstream: list[str], key: str
) -> None:
    """Records on disk are found by these: when this fails on purpose, raise `KEY_SCHEMA` as well."""
    assert KEY_SCHEMA == 1
    assert node_key(subject, work, variation, upstream) == key


@pytest.mark.parametrize(
    ("inside", "outside", "model"),
    [
        (NODE_FIELDS_IN_KEY, NODE_FIELDS_NOT_IN_KEY, WorkflowNode),
        (POLICY_FIELDS_IN_KEY, POLICY_FIELDS_NOT_IN_KEY, NodePolicy),
    ],
)
def test_every_field_is_either_in_the_key_or_not(
    inside: frozenset[str], outside: frozenset[str], model: type[WorkflowNode] | type[NodePolicy]
) -> None:
    assert inside | outside == model.model_fields.keys()
    assert inside & outside == set()


def say(text: str = "x") -> dict[str, str]:
    """Say it."""
    return {"text": text}


def say_otherwise(text: str = "x") -> dict[str, str]:
    """Say it."""
    return {"text": f"{text}!"}


def registry(function: Callable[..., Any] = say, version: str | None = "1", name: str = "say") -> ToolRegistry:
    made: FunctionTool = tool(name=name, version=version)(function)
    return ToolRegistry([made])


def keys(subject: WorkflowPlan, tools: ToolRegistry | None = None, **options: Any) -> dict[str, str]:
    compiled = compile_plan(subject, tools=tools or registry(), **options)
    return {id: one.key for id, one in compiled.nodes.items()}


def key_of(
    *,
    tools: ToolRegistry | None = None,
    plan_fields: dict[str, Any] | None = None,
    needs: Iterable[str] = (),
    **fields: Any,
) -> str:
    """The key of one node that runs a tool, in a plan with two others that it may depend on."""
    values: dict[str, Any] = {"type": "generate", "parameters": {"tool": "say", "tool_inputs": {"text": "hi"}}} | fields
    id = values.pop("id", "subject")
    others = [node("one", "composite"), node("two", "composite", parameters={"n": 2})]
    subject = node(id, values.pop("type"), needs=list(needs), **({"description": "do it"} | values))
    return keys(plan(*others, subject, **(plan_fields or {})), tools)[id]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"type": "transform"}, id="type"),
        pytest.param({"description": "do it well"}, id="description"),
        pytest.param({"parameters": {"tool": "say", "tool_inputs": {"text": "ho"}}}, id="a tool input"),
        pytest.param({"parameters": {"tool": "say", "tool_inputs": {"text": "hi"}, "more": None}}, id="a parameter"),
        pytest.param({"needs": ["one"]}, id="a dependency"),
        pytest.param({"tools": registry(version="2")}, id="the tool's version"),
        pytest.param({"tools": registry(version=None)}, id="a tool without a version"),
        pytest.param({"policy": {"variation": 1}}, id="variation"),
        pytest.param({"policy": {"variation": ""}}, id="an empty variation"),
        pytest.param({"plan_fields": {"policy": {"variation": 1}}}, id="the plan's variation"),
    ],
)
def test_what_decides_a_result_changes_its_key(change: dict[str, Any]) -> None:
    assert key_of(**change) != key_of()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"id": "renamed"}, id="id"),
        pytest.param({"children": [node("child", "composite")]}, id="children"),
        pytest.param({"estimated_duration": 3}, id="estimate"),
        pytest.param(
            {
                "policy": {
                    "retries": 3,
                    "retry_delay": 2,
                    "retry_backoff": 3,
                    "retry_jitter": 0,
                    "timeout": 9,
                    "limits": ["a"],
                    "tags": ["b"],
                }
            },
            id="every other policy field",
        ),
        pytest.param({"plan_fields": {"policy": {"retries": 3}}}, id="the plan's retries"),
        pytest.param({"plan_fields": {"id": "renamed", "created_at": "2026-01-01"}}, id="the plan's own fields"),
        pytest.param(
            {"parameters": {"tool_inputs": {"text": "hi"}, "tool": "say"}}, id="the order of a mapping's keys"
        ),
    ],
)
def test_where_and_how_a_node_runs_does_not_change_its_key(change: dict[str, Any]) -> None:
    assert key_of(**change) == key_of()


def test_a_nodes_own_variation_hides_the_plans() -> None:
    own = key_of(policy={"variation": 1}, plan_fields={"policy": {"variation": 2}})
    assert own == key_of(policy={"variation": 1})


def test_one_and_the_text_one_are_two_variations() -> None:
    assert key_of(policy={"variation": 1}) != key_of(policy={"variation": "1"})


def test_without_a_version_the_tools_source_decides() -> None:
    assert key_of(tools=registry(say, version=None)) == key_of(tools=registry(say, version=None))
    assert key_of(tools=registry(say, version=None)) != key_of(tools=registry(say_otherwise, version=None))


def test_with_a_version_the_tools_source_does_not_matter() -> None:
    assert key_of(tools=registry(say)) == key_of(tools=registry(say_otherwise))


def test_dependencies_enter_by_their_keys_and_in_their_order() -> None:
    assert key_of(needs=["one", "two"]) != key_of(needs=["two", "one"])
    assert key_of(needs=["one", "one"]) == key_of(needs=["one"])


def test_a_changed_node_changes_the_keys_of_all_that_build_on_it_and_no_other() -> None:
    def chain(detail: str) -> dict[str, str]:
        first = node("first", parameters={"detail": detail})
        return keys(
            plan(first, node("second", needs=["first"]), node("third", needs=["second"]), node("other")), simulate="all"
        )

    before, after = chain("low"), chain("high")
    assert {id for id in before if before[id] != after[id]} == {"first", "second", "third"}


def test_a_child_does_not_build_on_its_parents_output() -> None:
    def family(detail: str) -> dict[str, str]:
        return keys(plan(node("top", "composite", parameters={"detail": detail}, children=[node("kid", "composite")])))

    before, after = family("low"), family("high")
    assert before["top"] != after["top"]
    assert before["kid"] == after["kid"]


def test_who_does_the_work_decides_the_key() -> None:
    subject = plan(node("a", "composite"))
    found = {
        keys(subject)["a"],
        keys(subject, simulate="all")["a"],
        keys(subject, handled_types=[WorkflowNodeType.COMPOSITE])["a"],
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": {"d": None, "c": [True, 1.5]}}, '{"a":{"c":[true,1.5],"d":null},"b":1}'),
        ("ünïcode ✓", '"ünïcode ✓"'),
        ({"é": 1, "z": 2, "😀": 3}, '{"z":2,"é":1,"😀":3}'),
        ({"big": 2**64, "b": "é"}, '{"b":"é","big":18446744073709551616}'),
        (-(2**70), "-1180591620717411303424"),
        ({2: "two", 10: "ten"}, '{"10":"ten","2":"two"}'),
        ((1, (2,)), "[1,[2]]"),
        pytest.param({"tags": {"c", "a", "b"}}, '{"tags":["a","b","c"]}', id="set"),
        ([frozenset({2, 10})], "[[10,2]]"),
        (NodePolicy(retries=1, tags=("a",)).model_dump(exclude_none=True), '{"retries":1,"tags":["a"]}'),
        ("null", '"null"'),
    ],
    ids=str,
)
def test_a_value_has_one_text(value: Any, text: str) -> None:
    assert canonical_json(value) == text.encode()


def test_the_slow_way_writes_as_the_quick_one() -> None:
    value: dict[str, Any] = {"b": 'ü\n\u2028\x7f"', "a": [1, 2.5, None, True], "c": {"y": {}, "x": []}}
    quick, slow = canonical_json(value), canonical_json({**value, "z": 2**70})
    assert slow == quick[:-1] + b',"z":%d}' % 2**70


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


NOT_JSON: dict[str, tuple[Any, str]] = {
    "an object": (object(), "Unable to serialize unknown type"),
    "an object deep inside": ({"a": [{"b": object()}]}, "Unable to serialize unknown type"),
    "a function": ({"f": len}, "Unable to serialize unknown type"),
    "bytes that are no text": (b"\xff", "invalid utf-8"),
    "half a character": ({"text": "\ud800"}, "surrogates not allowed"),
    "half a character as a key": ({"\ud800": 1}, "surrogates not allowed"),
    "no number": ({"x": [float("nan")]}, "nan is not a finite number"),
    "infinity": (float("-inf"), "-inf is not a finite number"),
    "infinity beside a large int": ([2**70, float("inf")], "not JSON compliant"),
    "a circle": (circular(), "Circular reference"),
    "a circle with a set": ([circular(), {1}], "Circular reference"),
    "great depth": (deep(5000), "depth"),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_json_cannot_hold_is_a_type_error(name: str) -> None:
    value, message = NOT_JSON[name]
    with pytest.raises(TypeError, match=message):
        canonical_json(value)


IN_ANOTHER_PROCESS = """
import json
from tests.plan.test_keys import keys_to_compare
print(json.dumps(keys_to_compare()))
"""


def keys_to_compare() -> dict[str, str]:
    """Keys that come out otherwise when anything depends on the order of a set or on an address."""
    parameters = {"tool": "say", "words": {"alpha", "beta", "gamma", "delta"}, "map": {"z": 1, "a": {2**60, "x"}}}
    subject = plan(
        node("a", parameters=parameters, policy={"variation": "v"}),
        node("b", needs=["a"], parameters={"tool": "say", **NESTED}),
        node("c", "composite", needs=["b", "a"]),
    )
    return keys(subject, registry(version=None))


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_another_process_finds_the_same_keys(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == keys_to_compare()


def test_a_description_that_fills_an_input_puts_the_vibe_that_it_names_into_the_key() -> None:
    @tool(name="llm_generate", version="1")
    def generate(prompt: str) -> str:
        return prompt

    def key(description: str, style: str) -> str:
        wish = Vibe(description="A wish", style=style)
        subject = WorkflowPlan(id="p", source_vibe=wish, root_nodes=[node("a", description=description)])
        return compile_plan(subject, tools=ToolRegistry([generate])).nodes["a"].key

    assert key("In {{ vibe.style }} words", "calm") != key("In {{ vibe.style }} words", "loud")
    assert key("In few words", "calm") == key("In few words", "loud")
