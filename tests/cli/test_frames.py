from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.command import CONTROL, call
from vibe_prefect import PlanError, Position, Problem, load_plan
from vibe_prefect.cli.display.frames import MARGIN, WIDTH, Frame, frame_of, framed

BAD = """\
id: p
source_vibe: {description: d}
root_nodes:
  - {id: a, typ: generate, type: generate, description: d}
  - {id: b, type: generate, description: d, dependencies: [nope]}
"""


def framed_at(line: str, index: int, width: int = 40) -> Frame:
    found = frame_of([line], Position("plan.yaml", 1, index + 1), width)
    assert found is not None
    return found


def test_problems_are_printed_with_their_lines_and_hints(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(BAD)
    outcome = call("validate", "plan.yaml", "--simulate", cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert (
        outcome.err
        == """\
vibe-prefect: error: plan 'plan.yaml' has 2 problems:
  plan.yaml:4:18: node 'a', typ: unknown field
     4 |   - {id: a, typ: generate, type: generate, description: d}
       |                  ^
       = hint: did you mean 'type'?
  plan.yaml:5:60: node 'b', dependencies[0]: unknown node 'nope'
     5 |   - {id: b, type: generate, description: d, dependencies: [nope]}
       |                                                            ^
"""
    )


@pytest.mark.parametrize(
    ("line", "index", "text", "caret"),
    [
        pytest.param("a: b", 3, "a: b", 3, id="as it is"),
        pytest.param("\ta:\tb", 4, "    a:    b", 10, id="a tab is four spaces"),
        pytest.param('a: {日本: "x"}', 8, 'a: {日本: "x"}', 10, id="a wide character takes two columns"),
        pytest.param("a\u0301: b", 4, "a\u0301: b", 3, id="a combining mark takes none"),
        pytest.param("a\x1b[31m: b", 8, r"a\x1b[31m: b", 11, id="a control character is an escape"),
        pytest.param("a\u202e\u200b: b", 5, r"a\u202e\u200b: b", 15, id="so is an unseen one"),
        pytest.param("a: b", 4, "a: b", 4, id="the end of the line"),
    ],
)
def test_the_caret_stands_below_its_character(line: str, index: int, text: str, caret: int) -> None:
    assert framed_at(line, index) == Frame(1, text, caret)


@pytest.mark.parametrize("index", [0, 1, 100, 499, 900, 998, 999])
@pytest.mark.parametrize("letter", ["x", "日", "\x1b", "\t"])
def test_a_long_line_is_cut_around_the_caret(index: int, letter: str) -> None:
    line = letter * index + "!" + letter * (999 - index)
    found = framed_at(line, index)
    assert cell_len(found.text) <= 40
    assert found.caret <= 40
    assert not CONTROL.search(found.text)
    assert cell_len(found.text.partition("!")[0]) == found.caret
    assert found.text.startswith("...") == (index >= 100)
    assert found.text.endswith("...") == (index <= 900)


def test_a_huge_line_takes_no_time() -> None:
    assert cell_len(framed_at("x" * 20_000_000, 10_000_000).text) == 40


@pytest.mark.parametrize(("line", "column"), [(3, 1), (1, 9), (2, 1)])
def test_a_place_that_shows_nothing_has_no_frame(line: int, column: int) -> None:
    assert frame_of(["id: p", "   "], Position("plan.yaml", line, column)) is None


def test_problems_without_a_file_are_told_in_words_alone(folder: Path) -> None:
    position = Position("stored plan 'x'", 1, 1)
    error = PlanError([Problem("wrong; mend it", "a", "type", position, "mend it"), Problem("bad")], "x")
    assert framed(error).splitlines() == [
        "plan 'x' has 2 problems:",
        "  stored plan 'x':1:1: node 'a', type: wrong",
        "       = hint: mend it",
        "  bad",
    ]


@pytest.mark.parametrize("width", [None, 10, 40, 80, 300])
def test_frames_fit_the_terminal(folder: Path, width: int | None) -> None:
    (folder / "plan.yaml").write_text(BAD.replace("description: d,", f"description: {'d' * 300},"))
    with pytest.raises(PlanError) as caught:
        load_plan("plan.yaml")
    lines = framed(caught.value, width).splitlines()
    frames = [line for line in lines if " | " in line]
    assert len(frames) == 4
    assert max(map(cell_len, frames)) <= max(MARGIN + 20, min(width or WIDTH, WIDTH))
    assert all(text[caret.index("^")] in "g[n" for text, caret in zip(frames[::2], frames[1::2], strict=True))


def test_many_problems_are_counted(folder: Path) -> None:
    error = PlanError([Problem(f"wrong {number}") for number in range(60)], "x")
    assert framed(error).splitlines()[-2:] == ["  wrong 49", "  and 10 more"]
