"""Outputs as cards: each once, results first, tables as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from tests.reporting.reports import at, done, failed, picture, reported, result_of
from vibe_prefect import ExecutionStatus, NodeResult
from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.outputs.cards import file_text, final_nodes, is_text, output_cards
from vibe_prefect.reporting.outputs.tables import MAX_ROWS, is_code, table_in
from vibe_prefect.reporting.report import RunReport

TEXT = "# A post\n\nIt is about *this*."
CSV = OutputFile("a.csv", "text/csv", None, None)


def returned(id: str, value: Any) -> NodeResult:
    return NodeResult(id, ExecutionStatus.COMPLETED, value, duration=1.0, started_at=at(0))


def organised(id: str) -> NodeResult:
    return returned(id, {"type": "composite", "result": "Composite task organized: it", "child_count": 2})


def post_report() -> RunReport:
    """A text that is written, checked, put into a file, and shown beside a picture."""
    story = [node("post", needs=["facts"]), node("check", "validate", needs=["post"])]
    wanted = plan(
        node("facts", "analyze"),
        node("story", "composite", children=story, needs=["facts"]),
        node("cover", needs=["facts"]),
        node("file", "transform", needs=["story", "check", "cover"]),
        node("bad", needs=["facts"]),
    )
    return reported(
        wanted,
        result_of(
            wanted,
            done("facts", 0, 1, "Twelve commits"),
            organised("story"),
            done("post", 1, 1, {"text": TEXT}),
            done("check", 2, 1, {"text": f"{TEXT}\n"}),
            done("cover", 1, 1, picture()),
            done("file", 3, 1, picture("post.md", "text/markdown")),
            failed("bad", 1, 1, "no"),
            status=ExecutionStatus.FAILED,
        ),
    )


def test_a_text_is_on_one_card_with_the_file_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "post.md"
    path.write_text(TEXT)
    cards = output_cards(post_report(), {"post.md": path})
    assert [(card.node.id, card.is_result, card.passed_on) for card in cards] == [
        ("cover", True, ()),
        ("post", True, ("check", "file")),
        ("facts", False, ()),
    ]
    post = cards[1]
    assert (post.text, [file.path for file in post.files], post.groups) == (TEXT, ["post.md"], ("story",))


def test_a_file_that_is_not_at_hand_is_a_card_of_its_own() -> None:
    cards = output_cards(post_report())
    assert [card.node.id for card in cards if card.is_result] == ["cover", "file"]


def test_final_nodes_are_those_that_nothing_waits_for() -> None:
    assert [node.id for node in final_nodes(post_report())] == ["file"]


def test_a_composite_without_work_is_a_group_and_one_with_work_is_not() -> None:
    wanted = plan(node("c", "composite", children=[node("a")]), node("d", "composite"))
    results = [organised("c"), done("a", 0, 1, "a"), done("d", 0, 1, "made by a handler")]
    report = reported(wanted, result_of(wanted, *results))
    assert [node.is_group for node in report.nodes] == [True, False, False]
    assert [card.node.id for card in output_cards(report)] == ["d", "a"]


def test_remarks_of_all_holders_are_on_the_card() -> None:
    wanted = plan(node("a"), node("b", "validate", needs=["a"]))
    told = {"result": "text", "type": "tool_execution"}
    written = returned("a", told | {"metadata": {"written_by": "template"}})
    judged = returned("b", told | {"metadata": {"judged": False}})
    (card,) = output_cards(reported(wanted, result_of(wanted, written, judged)))
    assert card.remarks == ("from a template, without a model", "not judged")


@pytest.mark.parametrize(
    ("text", "file", "columns", "rows", "note"),
    [
        ('[{"a": 1, "b": "x"}, {"a": null, "c": [1]}]', None, ("a", "b", "c"), [("1", "x", ""), ("", "", "[1]")], ""),
        ('a,b\n1,"x, y"\n2\n', CSV, ("a", "b"), [("1", "x, y"), ("2", "")], ""),
        ('[{"a": true}, {"a": 2}, {"a"', None, ("a",), [("true",), ("2",)], "the end of a long text left out"),
    ],
)
def test_tables_are_found(
    text: str, file: OutputFile | None, columns: tuple[str, ...], rows: list[Any], note: str
) -> None:
    table = table_in(text, file)
    assert table is not None
    assert (table.columns, list(table.rows), table.note) == (columns, rows, note)


@pytest.mark.parametrize("text", ["", "a,b\n1,2", "[1, 2]", "[]", '{"a": 1}', "[{}]", "[" * 100_000, '[{"a": 1}, 2]'])
def test_other_texts_are_no_tables(text: str) -> None:
    assert table_in(text, None) is None


def test_a_large_table_is_cut_with_a_note() -> None:
    table = table_in(json.dumps([{f"c{column}": row for column in range(30)} for row in range(60)]), None)
    assert table is not None
    assert (len(table.rows), len(table.columns)) == (MAX_ROWS, 20)
    assert table.note == "10 more rows and 10 more columns left out"


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"a": 1}', True), ("<!doctype html><p>", True), ("<svg >", True), ("{a}", False), ("# <b>", False)],
)
def test_code_is_told_from_prose(text: str, code: bool) -> None:
    assert is_code(text) is code


def test_only_texts_are_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00")
    assert file_text(tmp_path / "a") is None
    assert file_text(tmp_path / "gone") is None
    mimes = ["text/markdown", "application/json", "image/svg+xml", "image/png", "application/atom+xml; charset=utf-8"]
    assert [is_text(OutputFile("a", mime, None, None)) for mime in mimes] == [True, True, False, False, True]
