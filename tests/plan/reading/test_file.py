"""Plan files: one reader for JSON and YAML, and all problems of a plan in one list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect import PlanError, compile_plan, default_registry, load_plan
from vibe_prefect.plan.compiler import whole_error
from vibe_prefect.plan.reading.plan_file import plan_of_data, read_plan

HEAD = '{"id": "p", "source_vibe": {"description": "d"}, '
TEA = "Tea \U0001f375"


def nodes(*written: str) -> str:
    return HEAD + f'"root_nodes": [{", ".join(written)}]}}'


def problems_of(text: str, name: str = "plan.json") -> list[str]:
    """Return every problem of a text, as the commands show them."""
    tools = default_registry()
    with pytest.raises(PlanError) as caught:  # noqa: PT012 - both ways of failing are one to a command
        try:
            loaded = read_plan(name, text)
        except PlanError as error:
            raise whole_error(error, tools=tools) from None
        compile_plan(loaded.plan, source=loaded.source, tools=tools)
    shown = [str(problem) for problem in caught.value.problems]
    assert shown == sorted(shown, key=lambda line: [int(part) for part in line.split(":")[1:3]] if ":" in line else [])
    "\n".join(shown).encode()
    return shown


A = '{"id": "a", "type": "composite", "description": "d"'


def marked(text: str) -> tuple[str, list[str]]:
    """Return a text without its marks, and the line and column of each mark."""
    before = [text[:end].replace("§", "") for end, sign in enumerate(text) if sign == "§"]
    places = [f"{part.count(chr(10)) + 1}:{len(part) - part.rfind(chr(10))}" for part in before]
    return text.replace("§", ""), places


READING: dict[str, tuple[str, list[str]]] = {
    "nodes twice": (
        HEAD + '"root_nodes": [],\n §"root_nodes": []}',
        ["the key 'root_nodes' stands here twice"],
    ),
    "an input twice": (
        nodes(A + ', "parameters": {"x": [{"y": 1, §"y": 2}]}}'),
        ["node 'a': the key 'y' stands here twice"],
    ),
    "a field of the vibe twice": (
        '{"id": "p", "source_vibe": {"description": "d", §"description": "e"}, "root_nodes": []}',
        ["the key 'description' stands here twice"],
    ),
    "a key twice, once escaped": (
        '{"id": "p", §"\\u0069d": "q", "source_vibe": {"description": "d"}, "root_nodes": []}',
        ["the key 'id' stands here twice"],
    ),
    "a number of more than 64 bits": (
        nodes(A + ', "parameters": {"x": §18446744073709551616}}'),
        ["node 'a', parameters.x: 18446744073709551616 has more than 64 bits; put it in quotes"],
    ),
    "no number": (
        nodes(A + ', "parameters": {"x": [§NaN, §-Infinity]}}'),
        [
            "node 'a', parameters.x[0]: expected a finite number, found nan",
            "node 'a', parameters.x[1]: expected a finite number, found -inf",
        ],
    ),
    "a number beyond all floats": (
        nodes(A + ', "estimated_duration": §1e999}'),
        ["node 'a', estimated_duration: expected a finite number, found inf"],
    ),
    "half a character in a description": (
        nodes('{"id": "a", "type": "composite", "description": §"\\ud83c"}'),
        ["node 'a', description: \\ud83c is half a character; write the character itself, or both halves"],
    ),
    "half a character in the vibe": (
        '{"id": "p", "source_vibe": {"description": §"\\udf75 d"}, "root_nodes": []}',
        ["source_vibe.description: \\udf75 is half a character; write the character itself, or both halves"],
    ),
    "half a character in an id": (
        nodes('{"id": §"a\\ud83c", "type": "composite", "description": "d"}'),
        ["node 'a\ufffd', id: \\ud83c is half a character; write the character itself, or both halves"],
    ),
    "half a character in a dependency": (
        nodes(A + ', "dependencies": [§"\\ud83c"]}'),
        ["node 'a', dependencies[0]: \\ud83c is half a character; write the character itself, or both halves"],
    ),
    "half a character in a key": (
        nodes(A + ', "parameters": {§"\\ud83c": 1}}'),
        ["node 'a': \\ud83c is half a character; write the character itself, or both halves"],
    ),
    "half a character in a tag": (
        nodes(A + ', "policy": {"tags": [§"\\ud83c"]}}'),
        ["node 'a', policy.tags[0]: \\ud83c is half a character; write the character itself, or both halves"],
    ),
}


@pytest.mark.parametrize("name", ["plan.json", "plan.yaml", "stored plan 'p'"])
@pytest.mark.parametrize("case", READING)
def test_what_json_says_ambiguously_is_refused_with_its_place_under_any_name(case: str, name: str) -> None:
    written, expected = READING[case]
    text, places = marked(written)
    assert problems_of(text, name) == [f"{name}:{at}: {one}" for at, one in zip(places, expected, strict=True)]


@pytest.mark.parametrize("case", sorted(READING.keys() - {"no number", "a number beyond all floats"}))
def test_yaml_obeys_the_rules_of_json(case: str) -> None:
    written, expected = READING[case]
    text, places = marked(f"{written} # so it is not JSON")
    assert problems_of(text, "p.yaml") == [f"p.yaml:{at}: {one}" for at, one in zip(places, expected, strict=True)]


def test_yaml_has_numbers_of_its_own_that_are_not_finite() -> None:
    text = (
        "id: p\nsource_vibe: {description: d}\nroot_nodes:\n  - {id: a, type: composite, description: d, parameters: "
    )
    assert problems_of(text + "{x: .nan}}\n", "p.yaml") == [
        "p.yaml:4:62: node 'a', parameters.x: expected a finite number, found nan"
    ]


@pytest.mark.parametrize("name", ["plan.json", "plan.yaml", "plan"])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_json_is_read_as_json_under_any_name(name: str, ensure_ascii: bool) -> None:
    data = {
        "id": "p",
        "source_vibe": {"description": TEA, "metadata": {TEA: "a\tb\\/"}},
        "root_nodes": [
            {"id": "a", "type": "composite", "description": TEA, "parameters": {"k" * 2000: [1, 2.5, None, True, ""]}}
        ],
    }
    text = json.dumps(data, ensure_ascii=ensure_ascii, indent="\t")
    for written in (text, f"\ufeff{text}", f"\n\t {text}\n", text.replace("/", "\\/")):
        plan = read_plan(name, written).plan
        assert plan.model_dump(exclude_unset=True, mode="json") == data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["plan.yaml", "plan.json"])
def test_a_plan_file_is_read_by_its_byte_order_mark(folder: Path, name: str, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""  # its codec writes none
    text = '{"id": "p", "source_vibe": {"description": "Gr\xfc\xdfe"}, "root_nodes": []}'
    (folder / name).write_bytes(f"{mark}{text}".encode(encoding))
    assert load_plan(folder / name).plan.source_vibe.description == "Gr\xfc\xdfe"


def test_halves_of_a_character_are_joined_in_yaml() -> None:
    text = 'id: p\nsource_vibe: {description: "Tea \\ud83c\\udf75", metadata: {"\\ud83c\\udf75": x}}\nroot_nodes: []\n'
    vibe = read_plan("plan.yaml", text).plan.source_vibe
    assert (vibe.description, vibe.metadata) == (TEA, {"\U0001f375": "x"})


def test_a_flow_mapping_that_is_not_json_is_yaml() -> None:
    assert read_plan("p", "{id: p, source_vibe: {description: d}, root_nodes: []}").plan.id == "p"


def test_json_with_tabs_and_long_keys_has_places(folder: Path) -> None:
    long = "k" * 3000
    (folder / "plan.json").write_text(nodes(f'{{"id":\t"a",\n\t"{long}":\t[1]}}'))
    with pytest.raises(PlanError) as caught:
        load_plan("plan.json")
    places = {str(problem.position) for problem in caught.value.problems}
    assert places == {"plan.json:1:65", f"plan.json:2:{len(long) + 6}"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source_vibe": {"description": "\ud83c"}}, "source_vibe.description: \\ud83c is half a character"),
        ({"source_vibe": {"description": "d", "metadata": {"\ud83c": 1}}}, "\\ud83c is half a character"),
        ({"source_vibe": {"description": "d", "metadata": {"a": 2**70}}}, "has more than 64 bits"),
        ({"estimated_total_duration": float("nan")}, "estimated_total_duration: expected a finite number, found nan"),
    ],
)
def test_data_without_a_text_obey_the_same_rules(data: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of_data({"id": "p", "source_vibe": {"description": "d"}, "root_nodes": [], **data})
    assert said in str(caught.value)
    assert all(problem.position is None for problem in caught.value.problems)
    str(caught.value).encode()


def test_half_a_character_in_a_plan_made_in_python_is_a_problem_too() -> None:
    plan = read_plan("p", HEAD + '"root_nodes": []}').plan
    plan.source_vibe.description = "\ud83c"
    with pytest.raises(PlanError, match=r"source_vibe.description: \\ud83c is half a character"):
        compile_plan(plan)


B = '{"id": "b", "type": "composite", "description": "d", "dependencies": ["a"]}'
C = B.replace('"b"', '"c"')
BAD_TOOL = '{"id": "z", "type": "generate", "description": "d", "parameters": {"tool": "combin"}}'
UNKNOWN_TOOL = "node 'z', parameters.tool: unknown tool 'combin'; did you mean 'combine'?"
USES_A = '"parameters": {"tool": "combine", "tool_inputs": {"parts": ["{{ outputs.a.text }}"]}}'

TOGETHER: dict[str, tuple[list[str], list[str]]] = {
    "an unknown field and an unknown dependency": (
        [A + ', "colour": 1, "dependencies": ["nope"]}', BAD_TOOL],
        ["node 'a', colour: unknown field", "node 'a', dependencies[0]: unknown node 'nope'", UNKNOWN_TOOL],
    ),
    "a node that is no mapping": (
        ['"a"', B, BAD_TOOL],
        ["root_nodes[0]: ", UNKNOWN_TOOL],
    ),
    "a node without an id": (
        ['{"type": "composite", "description": "d", "dependencies": ["b"]}', B, BAD_TOOL],
        ["root_nodes[0].id: missing", UNKNOWN_TOOL],
    ),
    "an id that is a number": (
        [
            '{"id": 7, "type": "composite", "description": "d"}',
            B.replace('"a"', '"7"'),
            B.replace('"b"', '"c"'),
            BAD_TOOL,
        ],
        ["root_nodes[0].id: expected text, found 7", "node 'c', dependencies[0]: unknown node 'a'", UNKNOWN_TOOL],
    ),
    "an unknown type, whose node others use": (
        ['{"id": "a", "type": "paint", "description": "d"}', B.replace("}", f", {USES_A}}}"), BAD_TOOL],
        ["node 'a', type: expected one of", UNKNOWN_TOOL],
    ),
    "misspelt parameters": (
        ['{"id": "a", "type": "generate", "description": "d", "paramters": {"tool": "combine"}}', BAD_TOOL],
        ["node 'a', paramters: unknown field; did you mean 'parameters'?", UNKNOWN_TOOL],
    ),
    "parameters that are a list": (
        ['{"id": "a", "type": "generate", "description": "d", "parameters": [1]}', BAD_TOOL],
        ["node 'a', parameters: expected a mapping", UNKNOWN_TOOL],
    ),
    "misspelt dependencies": (
        [
            A + "}",
            '{"id": "b", "type": "transform", "description": "d", "dependences": ["a"], ' + USES_A + "}",
            BAD_TOOL,
        ],
        [
            "node 'b', dependences: unknown field; did you mean 'dependencies'?",
            "node 'b', parameters.tool_inputs.parts[0]: outputs.a is text and has no 'text'",
            UNKNOWN_TOOL,
        ],
    ),
    "a dependency that is a number": (
        [A + ', "dependencies": [7, "nope"]}', BAD_TOOL],
        [
            "node 'a', dependencies[0]: expected text, found 7",
            "node 'a', dependencies[1]: unknown node 'nope'",
            UNKNOWN_TOOL,
        ],
    ),
    "misspelt children": (
        ['{"id": "x", "type": "composite", "description": "d", "childern": [' + A + "}]}", B, BAD_TOOL],
        ["node 'x', childern: unknown field; did you mean 'children'?", UNKNOWN_TOOL],
    ),
    "children that are a mapping": (
        ['{"id": "x", "type": "composite", "description": "d", "children": {"id": "a"}}', B, BAD_TOOL],
        ["node 'x', children: expected a list", UNKNOWN_TOOL],
    ),
    "a policy and a cycle": (
        [
            A + ', "policy": {"retrys": 1, "variation": [1]}, "dependencies": ["b"]}',
            B,
            BAD_TOOL,
        ],
        [
            "node 'a', policy.retrys: unknown field; did you mean 'retries'?",
            "node 'a', policy.variation",
            "node 'a', policy.variation",
            "node 'b', dependencies[0]: a cycle: a -> b -> a",
            UNKNOWN_TOOL,
        ],
    ),
    "a key twice and a template": (
        [
            A + ', "dependencies": ["b"], "dependencies": []}',
            B.replace('"a"', '"zzz"'),
            C.replace("}", f", {USES_A}}}").replace("outputs.a.text", "vib"),
        ],
        [
            "node 'a': the key 'dependencies' stands here twice",
            "node 'b', dependencies[0]: unknown node 'zzz'",
            "node 'c', parameters.tool_inputs.parts[0]: the template names 'vib', which",
        ],
    ),
    "a misshapen node that has a wrong tool itself": (
        [
            '{"type": "generate", "description": "d", "parameters": {"tool": "combin"}}',
            '{"id": "c", "type": "generate", "estimated_duration": "soon", "parameters": {"tool": "combin"}}',
        ],
        [
            "root_nodes[0].id: missing",
            "root_nodes[0].parameters.tool: unknown tool 'combin'",
            "node 'c', description: missing",
            "node 'c', estimated_duration: expected a number",
            "node 'c', parameters.tool: unknown tool 'combin'",
        ],
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_shape_errors_do_not_hide_other_problems_and_make_none(case: str) -> None:
    written, expected = TOGETHER[case]
    found = [problem.split(": ", 1)[1] for problem in problems_of(nodes(*written))]
    assert len(found) == len(expected), found
    for message in expected:
        assert any(one.startswith(message) for one in found), (message, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"source_vibe": {"description": 7, "mood": 1}, "root_nodes": [' + BAD_TOOL + "]}",
            ["id: missing", "source_vibe.description: expected text", "source_vibe.mood: unknown", UNKNOWN_TOOL],
        ),
        (HEAD + f'"nodes": [{B}]}}', ["nodes: unknown field"]),
        (HEAD + '"root_nodes": 7}', ["root_nodes: expected a list"]),
        (
            HEAD + '"policy": {"retries": "x"}, "root_nodes": [' + B + "]}",
            ["policy.retries: expected", "node 'b', dep"],
        ),
        (HEAD + '"root_nodes": [null, ' + B + "]}", ["root_nodes[0]: expected"]),
    ],
)
def test_shape_errors_of_the_plan_itself_do_not_hide_those_of_its_nodes(text: str, expected: list[str]) -> None:
    found = [problem.split(": ", 1)[1] for problem in problems_of(text)]
    assert len(found) == len(expected), found
    for message in expected:
        assert any(one.startswith(message) for one in found), (message, found)
