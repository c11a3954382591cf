from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cli.command import (
    CONTROL,
    FEATURE,
    MIXED,
    PROGRAM,
    TIMEOUT,
    TRAILER,
    Outcome,
    call,
    check,
    environment,
    node,
    write_plan,
)
from tests.paths import ROOT
from vibe_prefect.plan.reading.plan_text import read_source


def assert_clean(outcome: Outcome) -> None:
    assert "Traceback" not in outcome.err + outcome.out
    assert not CONTROL.search(outcome.err + outcome.out)


@pytest.mark.parametrize(
    ("plan", "facts"),
    [
        (TRAILER, "17 nodes, 9 groups, depth 3"),
        (FEATURE, "6 nodes, 5 groups, depth 1, 7 edges (7 data)"),
        (MIXED, "55 nodes, 9 groups, depth 2"),
    ],
)
def test_valid_plan_gives_one_line(tmp_path: Path, plan: str, facts: str) -> None:
    outcome = call("validate", plan, "--simulate", cwd=tmp_path)
    assert (outcome.code, outcome.err, len(outcome.lines)) == (0, "", 1)
    assert facts in outcome.out
    assert "tools: none" in outcome.out


def test_tools_that_a_plan_uses_are_named(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [check("a", "one two three")])
    assert call("validate", plan, cwd=tmp_path).out.rstrip().endswith("tools: check_text")


def test_unbacked_nodes_are_refused_unless_simulated(tmp_path: Path) -> None:
    outcome = call("validate", FEATURE, cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "6 nodes have no tool, no handler and no model to run them: 'gather'" in outcome.err


def test_every_problem_is_printed(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [node("a", dependencies=["b", "nope"]), node("b", dependencies=["a"]), node("b")])
    outcome = call("validate", plan, "--simulate", cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "has 3 problems" in outcome.err
    assert all(word in outcome.err for word in ("unknown node 'nope'", "a cycle: a -> b -> a", "duplicate id"))
    assert_clean(outcome)


BAD_FILES = {
    "binary.yaml": (b"\x00\xff\xfe\x01", "not UTF-8 text"),
    "empty.yaml": (b"", "found nothing"),
    "empty.json": (b"", "not JSON"),
    "syntax.yaml": (b"a: [1\n", "not YAML"),
    "syntax.json": (b'{"id":', "not JSON"),
    "list.yaml": (b"- 1\n", "found a list"),
    "shape.yaml": (b"id: 3\nroot_nodes: x\n", "source_vibe: missing"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_told_without_a_traceback(tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    commands = [["validate"], ["show"], ["run", "--simulate"]]
    for command in commands if name == "syntax.yaml" else commands[:1]:
        outcome = call(*command, name, cwd=tmp_path)
        assert (outcome.code, outcome.lines) == (2, [f"plan     {name}"] if "run" in command else [])
        assert message in outcome.err
        assert name in outcome.err
        assert_clean(outcome)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for name, message in (("nope.yaml", "No such file or directory"), (".", "it is a folder; name a file")):
        outcome = call("validate", name, cwd=tmp_path)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err
        assert_clean(outcome)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").touch(mode=0o000)
    outcome = call("validate", "secret.yaml", cwd=tmp_path)
    assert (outcome.code, "Permission denied" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], 'unknown command "bogus"'),
        (["run"], "name a plan file, or say with --vibe what is to be made"),
        (["run", "x.yaml", "--bogus"], "--bogus"),
        (["run", "x.yaml", "--concurrency", "0"], "Must be >= 1"),
        (["run", "x.yaml", "--concurrency", "many"], 'unable to convert "many" into int'),
        (["run", "x.yaml", "--input-root", "nowhere"], "--input-root 'nowhere' is not a folder"),
        (["run", "x.yaml", "--output", "file"], "--output 'file' is not a folder"),
        (["show", "x.yaml", "--mermaid", "--svg"], "ask for one of them"),
        (["show", "x.yaml", "--output", "x.svg"], "--output needs --mermaid or --svg"),
        (["tools", "image_crad"], "unknown tool 'image_crad'; did you mean 'image_card'?"),
    ],
)
def test_usage_errors_exit_with_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "file").touch()
    outcome = call(*arguments, cwd=tmp_path)
    assert (outcome.code, outcome.lines) == (2, ["plan     x.yaml"] if "folder" in message else [])
    assert message in outcome.err
    assert_clean(outcome)


def test_no_command_prints_the_help(tmp_path: Path) -> None:
    outcome = call(cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Usage: vibe-prefect COMMAND" in outcome.err


def test_help_is_a_command_and_v_is_the_version(tmp_path: Path) -> None:
    assert call("help", "run", cwd=tmp_path).out == call("run", "--help", cwd=tmp_path).out
    assert call("-v", cwd=tmp_path).out == call("--version", cwd=tmp_path).out
    unknown = call("help", "ru", cwd=tmp_path)
    assert (unknown.code, 'Did you mean "run"?' in unknown.err) == (2, True)


def test_help_documents_commands_and_exit_codes(tmp_path: Path) -> None:
    outcome = call("--help", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(f"│ {name} " in outcome.out for name in ("run", "validate", "show", "schema", "tools"))
    assert "2  bad plan or usage" in outcome.out
    run = call("run", "--help", cwd=tmp_path).out
    assert "vibe-prefect run plan.yaml --simulate" in run
    assert "130  interrupted with Ctrl-C" in run


def test_version(tmp_path: Path) -> None:
    outcome = call("--version", cwd=tmp_path)
    assert (outcome.code, outcome.out.split()[0]) == (0, "vibe-prefect")


def test_schema_accepts_a_real_plan_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    outcome = call("schema", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    schema = outcome.json
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    validator: Any = jsonschema.Draft202012Validator(schema)
    plan = json.loads(Path(TRAILER).read_text(encoding="utf-8"))
    assert validator.is_valid(plan)
    assert not validator.is_valid(plan | {"root_node": []})
    path = ROOT / "flows" / "launch" / "launch.yaml"
    launch: Any = read_source(path.name, path.read_text()).data
    assert validator.is_valid(launch)
    launch["root_nodes"][2].pop("use")
    assert not validator.is_valid(launch)


def test_tools_are_listed(tmp_path: Path) -> None:
    outcome = call("tools", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(name in outcome.out for name in ("read_text", "template_fill", "check_text", "image_card"))
    names = [tool["name"] for tool in call("tools", "--json", cwd=tmp_path).json]
    assert names == sorted(names)


def test_a_tool_is_described_with_a_snippet(tmp_path: Path) -> None:
    outcome = call("tools", "write_file", cwd=tmp_path)
    assert outcome.code == 0
    assert "required" in outcome.out
    assert "tool: write_file" in outcome.out
    assert call("tools", "write_file", "--json", cwd=tmp_path).json["category"] == "utility"


def test_a_bad_plan_is_answered_without_importing_prefect(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("id: x\n", encoding="utf-8")
    outcome = call("run", "bad.yaml", cwd=tmp_path, extra={"PYTHONPROFILEIMPORTTIME": "1"})
    assert outcome.code == 2
    assert " prefect.main" not in outcome.err


@pytest.mark.parametrize("arguments", [["show", MIXED], ["schema"], ["tools", "--json"], ["show", MIXED, "--svg"]])
def test_a_closed_pipe_is_silent(tmp_path: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_encoding_that_lacks_a_character_is_no_error(tmp_path: Path) -> None:
    outcome = call("show", TRAILER, cwd=tmp_path, extra={"PYTHONIOENCODING": "ascii"})
    assert (outcome.code, outcome.err) == (0, "")
