"""The options that give inputs: texts read by type, files, and their refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import call, node
from vibe_prefect import UsageError
from vibe_prefect.cli.reading.inputs import InputArguments, value_of

TEXT, LIST = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (TEXT, "5", "5"),
        (TEXT, "a=b", "a=b"),
        ({"type": ["string", "null"]}, "null", "null"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "five", "five"),
        ({"type": "number"}, "0.5", 0.5),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "yes", "yes"),
        (LIST, "1, 2", [1, 2]),
        (LIST, "[1, 2]", [1, 2]),
        (LIST, "", []),
        ({"type": "array", "items": TEXT}, "en,de", ["en", "de"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({}, "[1]", [1]),
        ({}, "word", "word"),
    ],
)
def test_a_text_is_read_by_the_declared_type(schema: dict[str, Any], text: str, value: Any) -> None:
    assert value_of(text, schema) == value
    assert type(value_of(text, schema)) is type(value)


def test_texts_and_files_come_before_the_document(folder: Path) -> None:
    (folder / "in.yaml").write_text("a: 1\nb: [x]\nc: kept\n")
    (folder / "brief.md").write_text("# Brief\n")
    arguments = InputArguments(("a=2",), ("b=brief.md",), folder / "in.yaml")
    assert arguments.values({"a": {"type": "integer"}, "b": TEXT}) == {"a": 2, "b": "# Brief\n", "c": "kept"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (InputArguments(("product",)), "--set 'product': expected NAME=VALUE, as in --set product=Tea"),
        (InputArguments(("=x",)), "--set '=x': expected NAME=VALUE, as in --set product=Tea"),
        (
            InputArguments(("a=1",), ("a=in.yaml",)),
            "the input 'a' is given twice; give it once, in --set or in --set-file",
        ),
        (InputArguments(files=("a=none.md",)), "--set-file none.md: cannot be read: No such file or directory"),
        (InputArguments(document=Path("none.yaml")), "--inputs none.yaml: cannot be read: No such file or directory"),
        (
            InputArguments(document=Path("list.yaml")),
            "--inputs list.yaml: expected a mapping of inputs by name, found ['a']",
        ),
        (InputArguments(document=Path("twice.yaml")), "--inputs twice.yaml:2:1: the key 'a' stands here twice"),
        (
            InputArguments(document=Path("broken.yaml")),
            (
                "--inputs broken.yaml:2:1: not YAML: while parsing a flow node expected the node content, but found "
                "'<stream end>'"
            ),
        ),
    ],
)
def test_options_are_refused_in_these_words(folder: Path, arguments: InputArguments, message: str) -> None:
    (folder / "in.yaml").write_text("x: 1\n")
    (folder / "list.yaml").write_text("- a\n")
    (folder / "twice.yaml").write_text("a: 1\na: 2\n")
    (folder / "broken.yaml").write_text("a: [\n")
    with pytest.raises(UsageError) as caught:
        arguments.values({})
    assert str(caught.value) == message


def tea(folder: Path) -> str:
    fill = {"tool": "template_fill", "tool_inputs": {"template": "{{ inputs.product }}"}}
    page = {
        "id": "tea",
        "source_vibe": {"description": "A page"},
        "inputs": {"product": {"type": "string", "title": "Product"}, "words": {"type": "integer", "default": 5}},
        "root_nodes": [node("page", "transform", parameters=fill)],
    }
    (folder / "tea.json").write_text(json.dumps(page))
    return "tea.json"


def test_commands_take_inputs_and_refuse_wrong_ones_before_anything_runs(tmp_path: Path) -> None:
    plan = tea(tmp_path)
    shown = call("show", plan, cwd=tmp_path)
    assert "inputs.product  string   required   Product" in shown.lines
    assert "inputs.words    integer  default 5" in [line.rstrip() for line in shown.lines]
    assert call("validate", plan, cwd=tmp_path).code == 0
    wrong = call("validate", plan, "--set", "prodduct=Tea", "--set", "words=x", cwd=tmp_path)
    assert (wrong.code, wrong.err.splitlines()) == (
        2,
        [
            "vibe-prefect: error: the inputs of plan 'tea' have 3 problems:",
            "  product: missing; it is required (string); give it, as in --set product=...",
            "  prodduct: the plan has no input of this name; did you mean 'product'?",
            "  words: 'x' is not of type 'integer'",
        ],
    )
    missing = call("run", plan, cwd=tmp_path)
    assert (missing.code, missing.lines) == (2, [f"plan     {plan}"])
    assert "product: missing" in missing.err
    simulated = call("run", plan, "--simulate", "--set", "product=Tea", cwd=tmp_path)
    assert (simulated.code, simulated.err) == (0, "")
    assert 'inputs   product="Tea", words=5' in simulated.lines
    missing = call("run", plan, "--simulate", cwd=tmp_path)
    assert (missing.code, missing.lines) == (2, [f"plan     {plan}"])
    told = call("run", plan, "--dry-run", "--set", "product=Tea", cwd=tmp_path)
    assert 'inputs   product="Tea", words=5' in told.lines
    difference = call("diff", plan, plan, "--set", "product=Tea", cwd=tmp_path)
    assert "  page  changed: inputs.product" in difference.lines
