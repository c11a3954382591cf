from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from tests.cli.command import CONTROL, TRAILER, call, node, write_plan


def test_tree_shows_hierarchy_groups_and_dependencies(tmp_path: Path) -> None:
    outcome = call("show", TRAILER, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[0] == "sci-fi-trailer  A cinematic science fiction trailer"
    rows = {line.lstrip("│├└─ ").split()[0]: line for line in outcome.lines[2:-1]}
    assert len(rows) == 17
    assert rows["beat-check"].split() == ["└─", "beat-check", "validate", "5", "beats"]
    assert rows["review"].split() == ["review", "validate", "9", "edit,", "story"]
    assert outcome.lines[-1] == "17 nodes in 9 groups"
    assert not any(line.endswith(" ") for line in outcome.lines)


def test_a_plan_that_nothing_can_run_is_still_shown(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [node("a", parameters={"tool": "not_there"}), node("b")])
    outcome = call("show", plan, cwd=tmp_path)
    assert outcome.code == 0
    assert "generate, not_there" in outcome.out


def test_markup_and_control_characters_appear_harmless(tmp_path: Path) -> None:
    bad = node("a", parameters={"tool": "\x1b[31m[red]x[/red]"})
    plan = write_plan(tmp_path, [bad], vibe="[bold]loud[/bold] \x1b]0;title\x07 :smile: \u202eback")
    outcome = call("show", plan, cwd=tmp_path)
    assert outcome.lines[0] == r"plan  [bold]loud[/bold] \x1b]0;title\x07 :smile: \u202eback"
    assert r"\x1b[31m[red]x[/red]" in outcome.out
    assert not CONTROL.search(outcome.out)


def test_empty_plan(tmp_path: Path) -> None:
    outcome = call("show", write_plan(tmp_path, []), cwd=tmp_path)
    assert (outcome.code, outcome.lines[-1]) == (0, "0 nodes in 0 groups")


def test_mermaid_to_stdout_and_svg_to_a_file(tmp_path: Path) -> None:
    assert call("show", TRAILER, "--mermaid", cwd=tmp_path).out.startswith("flowchart LR\n")
    outcome = call("show", TRAILER, "--svg", "-o", "plan.svg", cwd=tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "wrote plan.svg\n")
    assert ET.parse(tmp_path / "plan.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own drawing


def test_a_drawing_that_cannot_be_written(tmp_path: Path) -> None:
    outcome = call("show", TRAILER, "--svg", "-o", "no/such/folder.svg", cwd=tmp_path)
    assert outcome.code == 2
    assert "cannot write no/such/folder.svg: No such file or directory" in outcome.err


def test_show_says_where_nodes_run_whether_or_not_that_is_known_here(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [node("a", policy={"run_on": "farm"}), node("b")])
    outcome = call("show", plan, cwd=tmp_path)
    assert outcome.code == 0
    assert [line.endswith("on farm") for line in outcome.lines[2:4]] == [True, False]
