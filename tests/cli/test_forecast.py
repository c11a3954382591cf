"""`run --dry-run` and `diff` as users call them; with a run to go on from, on a real server."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import CONTROL, FEATURE, TRAILER, Outcome, call, check, node, write_plan
from tests.cli.test_terminal import finish, spawn

NOWHERE = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
EDITED = ["n1-2", "n1-3", "n1-4", "n2-4"]


def twenty(folder: Path, id: str, edited: str | None = None) -> str:
    """Four chains of five nodes; the third node of each chain also feeds the next chain's end."""
    nodes: list[dict[str, Any]] = []
    for index in range(20):
        row, step = divmod(index, 5)
        needs = [f"n{row}-{step - 1}"] if step else []
        needs += [f"n{row - 1}-2"] if step == 4 and row else []
        name = f"n{row}-{step}"
        text = "one two three four" if name == edited else "one two three"
        nodes.append(check(name, text, dependencies=needs, estimated_duration=1 + row))
    path = write_plan(folder, nodes, id)
    data = json.loads(Path(path).read_text(encoding="utf-8")) | {"id": "twenty"}
    Path(path).write_text(json.dumps(data), encoding="utf-8")
    return path


def on(server: str, *arguments: str, cwd: Path) -> Outcome:
    return call(*arguments, cwd=cwd, extra={"PREFECT_API_URL": server})


def words(outcome: Outcome, word: str) -> list[str]:
    """The nodes in whose line that word comes first."""
    return [line.split()[1] for line in outcome.lines if line.split()[:1] == [word]]


def started(outcome: Outcome) -> list[str]:
    return [line.split("] start ")[1].split()[0] for line in outcome.lines if "] start " in line]


@pytest.mark.server
def test_the_dry_run_says_what_the_resume_then_executes(tmp_path: Path, prefect_server: str) -> None:
    plan, edited = twenty(tmp_path, "plan"), twenty(tmp_path, "edited", edited="n1-2")
    first = on(prefect_server, "run", plan, "--json", cwd=tmp_path)
    name, id = first.json["run_name"], first.json["run_id"]

    dry = on(prefect_server, "run", edited, "--dry-run", "--resume", name, cwd=tmp_path)
    assert (dry.code, dry.err) == (0, "")
    assert dry.lines[:3] == ["twenty  A wish", "20 nodes in 5 groups", f"resumes {name}"]
    assert words(dry, "run") == EDITED
    assert len(words(dry, "reuse")) == 16
    assert any(line.endswith("changed: parameters.tool_inputs.text") for line in dry.lines)
    assert any(re.fullmatch(rf"reuse +n0-0 +validate, check_text +1 +record from {name}", line) for line in dry.lines)
    assert any(
        re.fullmatch(r"run +n2-4 +validate, check_text +5 +depends on n1-2, which runs", line) for line in dry.lines
    )
    assert dry.lines[-5:] == [
        "dry run: 4 of 20 nodes would run, 16 reused; nothing was executed",
        "work  4 nodes, about 9.00 s",
        "critical path  3 nodes, about 6.00 s",
        "  n1-2 2.00 s > n1-3 2.00 s > n1-4 2.00 s",
        "tools  check_text 1 (4 nodes)",
    ]
    compared = on(prefect_server, "diff", name, edited, "--json", cwd=tmp_path)
    assert list(compared.json["executes"]) == EDITED
    assert compared.json["through_dependencies"] == EDITED[1:]

    resumed = on(prefect_server, "run", edited, "--resume", id, cwd=tmp_path)
    assert (resumed.code, resumed.err) == (0, "")
    assert sorted(started(resumed)) == EDITED
    after = on(prefect_server, "run", edited, "--dry-run", "--resume", id, "--json", cwd=tmp_path)
    assert after.json["resume_from"] == {"run_name": name, "run_id": id}
    assert {node["action"] for node in after.json["nodes"].values()} == {"reuse"}


@pytest.mark.server
def test_what_did_not_finish_would_run(tmp_path: Path, prefect_server: str) -> None:
    nodes = [check("good", "one two three"), check("bad", "one", dependencies=["good"])]
    plan = write_plan(tmp_path, [*nodes, check("after", "one two three", dependencies=["bad"])])
    name = on(prefect_server, "run", plan, "--json", cwd=tmp_path).json["run_name"]
    dry = on(prefect_server, "run", plan, "--dry-run", "--resume", name, cwd=tmp_path)
    assert (words(dry, "reuse"), words(dry, "run")) == (["good"], ["bad", "after"])
    simulated = on(prefect_server, "run", plan, "--dry-run", "--simulate", "--resume", name, cwd=tmp_path)
    assert words(simulated, "run") == ["good", "bad", "after"]
    assert next(line for line in simulated.lines if line.startswith("run    good") or " good " in line).endswith(
        "changed: work"
    )


@pytest.mark.server
@pytest.mark.parametrize("command", [["run", FEATURE, "--simulate", "--dry-run", "--resume"], ["diff", FEATURE]])
def test_an_unknown_run_is_told(tmp_path: Path, prefect_server: str, command: list[str]) -> None:
    outcome = on(prefect_server, *command, "no-such-run", cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "vibe-prefect: error: this Prefect server has no run of a plan named 'no-such-run'; "
        "'vibe-prefect runs' lists its runs\n"
    )


@pytest.mark.parametrize("command", [["run", FEATURE, "--simulate", "--dry-run", "--resume"], ["diff", FEATURE]])
def test_a_server_that_does_not_answer_is_told(tmp_path: Path, command: list[str]) -> None:
    outcome = call(*command, "some-run", cwd=tmp_path, extra=NOWHERE)
    assert (outcome.code, outcome.out) == (3, "")
    assert "cannot reach the Prefect server at http://127.0.0.1:9/api" in outcome.err


def test_without_a_run_no_server_is_needed(tmp_path: Path) -> None:
    outcome = call("run", FEATURE, "--simulate", "--dry-run", cwd=tmp_path, extra=NOWHERE)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[-1] == "tools  none"
    assert words(outcome, "run") == ["gather", "design", "implement", "check", "document", "announce"]
    assert list(tmp_path.iterdir()) == []


def test_json_of_a_dry_run(tmp_path: Path) -> None:
    nodes = [check("a", "one two three", estimated_duration=2), check("b", "x", dependencies=["a"])]
    outcome = call("run", write_plan(tmp_path, nodes), "--dry-run", "--json", cwd=tmp_path, extra=NOWHERE)
    assert (outcome.code, outcome.err) == (0, "")
    data = outcome.json
    key = data["nodes"]["a"].pop("key")
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert data["nodes"]["a"] == {
        "type": "validate",
        "tool": "check_text",
        "action": "run",
        "reason": "no record",
        "estimated_seconds": 2.0,
    }
    assert {name: value for name, value in data.items() if name != "nodes"} == {
        "schema_version": 1,
        "kind": "dry-run",
        "plan_id": "plan",
        "simulated": False,
        "resume_from": None,
        "summary": {
            "total_nodes": 2,
            "run": 2,
            "reuse": 0,
            "skip": 0,
            "estimated_seconds": 2.0,
            "without_estimate": 1,
        },
        "groups": [["a"], ["b"]],
        "critical_path": {"nodes": ["a", "b"], "estimated_seconds": 2.0, "without_estimate": 1},
        "costs": None,
        "tools": {"check_text": {"version": "1", "nodes": 2, "keys": [], "lack": None}},
        "not_looked_up": None,
        "unknown_lists": {},
    }


def test_a_bad_plan_is_refused(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [node("a", dependencies=["b"])])
    for command in (["run", plan, "--dry-run"], ["diff", plan, plan]):
        outcome = call(*command, cwd=tmp_path, extra=NOWHERE)
        assert (outcome.code, outcome.out) == (2, "")
        assert "unknown node 'b'" in outcome.err


def test_a_plan_file_that_is_not_there_is_no_run(tmp_path: Path) -> None:
    outcome = call("diff", FEATURE, "missing.yaml", cwd=tmp_path, extra=NOWHERE)
    assert outcome.code == 2
    assert "missing.yaml" in outcome.err
    assert "No such file" in outcome.err


def test_an_empty_plan(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [])
    outcome = call("run", plan, "--dry-run", cwd=tmp_path)
    assert (outcome.code, outcome.lines[-1]) == (0, "dry run: 0 of 0 nodes would run; nothing was executed")


def test_diff_of_two_files(tmp_path: Path) -> None:
    old = write_plan(
        tmp_path,
        [node("a", parameters={"tool": "not_there"}), node("b", dependencies=["a"]), node("c"), node("gone")],
        "old",
    )
    changed = node("a", "analyze", parameters={"tool": "other"}, policy={"retries": 2})
    new = write_plan(tmp_path, [changed, node("b", dependencies=["a"], children=[node("c")]), node("fresh")], "new")
    outcome = call("diff", old, new, cwd=tmp_path, extra=NOWHERE)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines == [
        f"from {old} to {new}",
        "~ the plan itself",
        "    id",
        '      - "old"',
        '      + "new"',
        "- gone  generate",
        "~ a",
        "    parameters.tool",
        '      - "not_there"',
        '      + "other"',
        "    policy.retries",
        "      + 2",
        "    type",
        '      - "generate"',
        '      + "analyze"',
        "> c  moved from the top to b",
        "+ fresh  generate",
        "a resume would execute 3 of 4 nodes, if the earlier run has finished:",
        "  a      changed: parameters.tool, type",
        "  b      depends on a, which runs",
        "  fresh  new in the plan",
    ]


def test_a_change_that_a_resume_does_not_care_for(tmp_path: Path) -> None:
    old = write_plan(tmp_path, [node("a")])
    new = write_plan(tmp_path, [node("a", estimated_duration=3)], "new")
    data = json.loads(Path(new).read_text(encoding="utf-8")) | {"id": "plan"}
    Path(new).write_text(json.dumps(data), encoding="utf-8")
    outcome = call("diff", old, new, cwd=tmp_path)
    assert outcome.lines[1] == "~ a  its result is kept"
    assert outcome.lines[-1] == "a resume would execute none of 1 node, if the earlier run has finished"
    same = call("diff", old, old, cwd=tmp_path)
    assert same.lines == [f"from {old} to {old}", "no differences"]


def hostile(folder: Path, text: str) -> str:
    name = f"k\x1b[2J{text}"
    nodes = [node("a", parameters={"tool": "\x1b[31m[red]x[/red]", name: f"[bold]\x1b]0;t\x07\u202e{text}"})]
    return write_plan(folder, nodes, f"plan-{text}", vibe=f"[bold]\x1b[2J{text}")


def test_hostile_text_appears_harmless(tmp_path: Path) -> None:
    old, new = hostile(tmp_path, "one"), hostile(tmp_path, "two")
    for command in (["diff", old, new], ["run", new, "--simulate", "--dry-run"]):
        outcome = call(*command, cwd=tmp_path)
        assert outcome.code == 0
        assert "[bold]" in outcome.out
        assert not CONTROL.search(outcome.out)
        assert "\u202e" not in outcome.out


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (["run", TRAILER, "--simulate", "--dry-run"], 0),
        (["diff", FEATURE, TRAILER], 1),  # the first line names two files as they were given
    ],
    ids=["run", "diff"],
)
def test_lines_fit_a_terminal(tmp_path: Path, command: list[str], start: int) -> None:
    child = spawn(tmp_path, NOWHERE["PREFECT_API_URL"], *command, columns=80)
    lines = finish(child).replace("\r", "").splitlines()
    assert child.exitstatus == 0
    assert max(len(line) for line in lines[start:]) <= 80


@pytest.mark.server
def test_the_dry_run_says_which_shared_records_lost_their_files(tmp_path: Path, prefect_server: str) -> None:
    write = {"tool": "write_file", "tool_inputs": {"path": "note.md", "content": "x"}}
    made = node("note", "transform", parameters=write)
    plan = write_plan(tmp_path, [made, check("fits", "all of {{ outputs.note.path }}", dependencies=["note"])], "lost")
    first = on(prefect_server, "run", plan, "--reuse", "plan", "--json", cwd=tmp_path)
    assert first.code == 0, first.err
    records = next(tmp_path.rglob(f"plan-{first.json['summary']['plan_id']}"))
    dry = on(prefect_server, "run", plan, "--reuse", "plan", "--dry-run", cwd=tmp_path)
    assert words(dry, "reuse") == ["note", "fits"], dry.out
    shutil.rmtree(records / "files")
    Path(first.json["outputs"], "note.md").write_text("edited", encoding="utf-8")
    lost = on(prefect_server, "run", plan, "--reuse", "plan", "--dry-run", "--json", cwd=tmp_path)
    assert {id: (one["action"], one["reason"]) for id, one in lost.json["nodes"].items()} == {
        "note": ("run", "its file 'note.md' was changed, and the records hold no copy of it"),
        "fits": ("run", "depends on note, which runs again; reused if that makes the same"),
    }
    compared = on(prefect_server, "diff", first.json["run_name"], plan, "--json", cwd=tmp_path)
    assert list(compared.json["executes"]) == ["note"]
