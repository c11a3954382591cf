"""Values that the server or its database cannot keep are refused before a run, wherever they stand in a plan."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.plans import node, plan
from vibe_prefect import PlanError, WorkflowPlan, compile_plan
from vibe_prefect.cli.app import add_commands_of, app
from vibe_prefect.core.budget import MAX_CONCURRENCY, MAX_TOKENS
from vibe_prefect.plan.reading.plan_file import load_plan, plan_of_data, read_plan
from vibe_prefect.plan.reading.values import MAX_DEPTH, plain_texts, value_problems
from vibe_prefect.plan.selection import MAX_EXPRESSION, SelectionError, parse

HERE = "here"

VALUES: dict[str, tuple[Any, str]] = {
    "large": (2**64, "18446744073709551616 has more than 64 bits; put it in quotes"),
    "small": (-(2**63) - 1, "-9223372036854775809 has more than 64 bits; put it in quotes"),
    "nan": (math.nan, "expected a finite number, found nan"),
    "infinite": (-math.inf, "expected a finite number, found -inf"),
    "half": ("a\ud83c", "\\ud83c is half a character; write the character itself, or both halves"),
    "nul": ("ab\0c", "a NUL character (\\0) at position 2, which databases cannot hold; leave it out"),
}


def in_metadata(value: Any) -> dict[str, Any]:
    return {"source_vibe": {"description": "d", "metadata": {"a": {"b": [0, value]}}}}


def in_parameters(value: Any) -> dict[str, Any]:
    return {"root_nodes": [_node(parameters={"x": [{"y": value}]})]}


def in_child(value: Any) -> dict[str, Any]:
    return {"root_nodes": [_node(children=[_node("c", parameters={"x": value})])]}


PLACES: dict[Callable[[Any], dict[str, Any]], str] = {
    in_metadata: "source_vibe.metadata.a.b[1]",
    in_parameters: "node 'n', parameters.x[0].y",
    in_child: "node 'c', parameters.x",
}


def _node(id: str = "n", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "composite", "description": "d", **fields}


def data(**fields: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"id": "p", "source_vibe": {"description": "d"}, "root_nodes": []}
    return whole | fields


def problems_of(subject: WorkflowPlan) -> list[str]:
    with pytest.raises(PlanError) as caught:
        compile_plan(subject)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", VALUES)
def test_value_that_cannot_be_kept_is_refused_with_its_place(
    place: Callable[[Any], dict[str, Any]], value: str
) -> None:
    written, message = VALUES[value]
    subject = WorkflowPlan.model_validate(data(**place(HERE)))
    replaced = subject.model_copy(deep=True)
    put(replaced, written)
    assert problems_of(replaced) == [f"{PLACES[place]}: {message}"]
    compile_plan(subject)


def keys_of(value: object) -> list[Any]:
    """The keys of a mapping, or the indices of a list."""
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value))
    return list(range(len(cast("list[Any]", value))))


def put(value: Any, written: Any) -> None:
    """Put a value in the place of the mark, as a program may: pydantic refuses halves of characters."""
    parts: Any = value.__dict__ if isinstance(value, BaseModel) else value
    for key in keys_of(parts):
        if parts[key] == HERE:
            parts[key] = written
        elif isinstance(parts[key], dict | list | BaseModel):
            put(parts[key], written)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"policy": {"variation": 2**65}},
            "policy.variation: 36893488147419103232 has more than 64 bits; put it in quotes",
        ),
        (
            {"root_nodes": [_node(policy={"tags": ["a", "b\0"]})]},
            "node 'n', policy.tags[1]: a NUL character (\\0) at position 1, which databases cannot hold; leave it out",
        ),
        (
            {"root_nodes": [_node(description="d\0")]},
            "node 'n', description: a NUL character (\\0) at position 1, which databases cannot hold; leave it out",
        ),
        (
            {"source_vibe": {"description": "d", "metadata": {"k\0": 1}}},
            "source_vibe.metadata: the key 'k\\x00': " + VALUES["nul"][1].replace("position 2", "position 1"),
        ),
    ],
)
def test_every_part_of_a_plan_is_checked(fields: dict[str, Any], problem: str) -> None:
    assert problems_of(WorkflowPlan.model_validate(data(**fields))) == [problem]


def test_files_forms_and_programs_obey_the_same_rules(tmp_path: Path) -> None:
    written = data(root_nodes=[_node(parameters={"text": "a\0", "deep": {"seed": 1}})])
    message = "parameters.text: a NUL character (\\0) at position 1, which databases cannot hold; leave it out"
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(written))
    loaded = load_plan(file)
    with pytest.raises(PlanError) as caught:
        compile_plan(loaded.plan, source=loaded.source)
    (problem,) = caught.value.problems
    column = file.read_text().index('"a\\u0000"') + 1
    assert str(problem) == f"{file}:1:{column}: node 'n', {message}"
    assert problems_of(plan_of_data(written).plan) == [f"node 'n', {message}"]


def test_numbers_at_the_edge_of_64_bits_are_kept() -> None:
    edge = {"most": 2**64 - 1, "least": -(2**63), "large": 1e308, "yes": True, "nothing": None}
    assert compile_plan(plan(node("a", "composite", parameters=edge))).nodes["a"].node.parameters == edge


@pytest.mark.parametrize("levels", [150, 10_000])
def test_depth_that_readers_of_json_do_not_take_is_refused(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    subject = plan(node("a", "composite"))
    subject.root_nodes[0].parameters["x"] = deep
    if levels < MAX_DEPTH:
        compile_plan(subject)
        return
    (problem,) = problems_of(subject)
    assert problem == f"node 'a', parameters.x{'[0]' * 8}: nested more than {MAX_DEPTH} levels deep; flatten it"


KEYS = st.text(max_size=2) | st.integers()
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=3) | st.just("a\0"),
    lambda held: st.lists(held, max_size=3) | st.dictionaries(KEYS, held, max_size=3),
)


@given(PLAIN)
def test_quick_check_agrees_with_the_one_that_names_places(value: Any) -> None:
    is_plain, has_problems = plain_texts(value) is not None, any(value_problems(value))
    assert not (is_plain and has_problems)
    assert is_plain or has_problems or any(isinstance(key, int) for key in _keys(value))


def _keys(value: Any) -> Iterator[object]:
    held: list[Any] = list(cast("dict[Any, Any]", value).values()) if isinstance(value, dict) else []
    yield from cast("dict[Any, Any]", value) if isinstance(value, dict) else ()
    for item in cast("list[Any]", value) if isinstance(value, list) else held:
        yield from _keys(item)


def test_value_that_holds_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = [circle, circle]
    subject = plan(node("a", "composite"))
    subject.source_vibe.metadata = circle
    (problem,) = problems_of(subject)
    assert problem.endswith(f"nested more than {MAX_DEPTH} levels deep; flatten it")


@pytest.mark.parametrize(("option", "most"), [("--max-tokens", MAX_TOKENS), ("--concurrency", MAX_CONCURRENCY)])
def test_numbers_among_the_options_are_bounded(option: str, most: int, capsys: pytest.CaptureFixture[str]) -> None:
    add_commands_of(["run"])
    with pytest.raises(SystemExit):
        app.parse_args(["run", "plan.yaml", option, str(most + 1)])
    assert str(most) in "".join(capsys.readouterr().err.split())
    app.parse_args(["run", "plan.yaml", option, str(most)])


def test_selection_is_bounded() -> None:
    with pytest.raises(SelectionError, match="it has 20,001 characters; 20,000 are read"):
        parse("a" * (MAX_EXPRESSION + 1))


HEAD = (
    "id: p\nsource_vibe: {description: d}\nroot_nodes:\n  - {id: a, type: composite, description: d, parameters: {v: "
)
TAGS = {
    "!env HOME": "the tag !env is not supported; leave it out, and write the value itself",
    "!include other.yaml": "the tag !include is not supported; leave it out, and write the value itself",
    "!!set {a: null}": "the tag !!set is not supported; leave it out, and write the value itself",
    "!!binary aGk=": "the tag !!binary is not supported; leave it out, and write the value itself",
    "!!python/tuple [1]": "the tag !!python/tuple is not supported; leave it out, and write the value itself",
    "!!bool yes": "the tag !!bool is not supported; leave it out, and write the value itself",
    "!!int '5'": "the tag !!int is not supported; leave it out, and write the value itself",
    "!<tag:x,2000:y> 5": "the tag tag:x,2000:y is not supported; leave it out, and write the value itself",
    "! 5": "the tag ! is not supported; leave it out, and write the value itself",
}


@pytest.mark.parametrize("written", TAGS)
def test_yaml_tag_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan("plan.yaml", f"{HEAD}{written}}}}}\n")
    (problem,) = caught.value.problems
    assert str(problem) == f"plan.yaml:4:{len(HEAD.splitlines()[-1]) + 1}: {TAGS[written]}"


@pytest.mark.parametrize(
    ("written", "value"),
    [("!!str 5", "5"), ("!!map {a: 1}", {"a": 1}), ("!!seq [1]", [1]), ("yes", "yes"), ("017", 17), ("TRUE", True)],
)
def test_yaml_values_are_those_of_version_1_2(written: str, value: object) -> None:
    assert read_plan("p", f"{HEAD}{written}}}}}\n").plan.root_nodes[0].parameters == {"v": value}


@pytest.mark.parametrize("head", ["%YAML 1.2\n---\n", "# a comment\n\n%YAML 1.2\n---\n", "---\n"])
def test_yaml_version_1_2_may_be_named(head: str) -> None:
    assert read_plan("p", f"{head}{HEAD}on}}}}\n").plan.root_nodes[0].parameters == {"v": "on"}


@pytest.mark.parametrize("version", ["1.1", "1.3", "2.0", "x"])
def test_other_yaml_version_is_refused_with_its_line(version: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan("plan.yaml", f"# old\n%YAML {version}\n---\n{HEAD}on}}}}\n")
    (problem,) = caught.value.problems
    assert str(problem) == f"plan.yaml:2:1: YAML {version} is not supported; plans are YAML 1.2"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (".Inf", "expected a finite number, found inf"),
        (".NaN", "expected a finite number, found nan"),
        ("9" * 5_000, f"{'9' * 57}... has more than 64 bits; put it in quotes"),
    ],
)
def test_yaml_numbers_that_are_none_are_told_shortly(written: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan("p", f"{HEAD}{written}}}}}\n")
    (problem,) = caught.value.problems
    assert problem.message == message
