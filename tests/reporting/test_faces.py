from __future__ import annotations

import json
import re

import pytest

from tests.plans import node, plan
from tests.reporting.outputs.test_cards import post_report
from tests.reporting.reports import (
    HOSTILE,
    done,
    failed,
    hostile_report,
    large_report,
    release_report,
    reported,
    result_of,
)
from vibe_prefect import ExecutionStatus
from vibe_prefect.reporting.flowchart import MAX_NODES, flowchart
from vibe_prefect.reporting.markdown import MAX_CHARACTERS, markdown_summary
from vibe_prefect.reporting.progress_text import bar, progress_note
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.table import COLUMNS, feedback_table
from vibe_prefect.reporting.timeline import timeline
from vibe_prefect.reporting.words import headline

FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)
MERMAID_LINE = re.compile(
    r'\s*(?:flowchart LR|end|subgraph g?n\d+\["[^"<>`]*"\]'
    r'|[ng]\d+\["[^"`;%]*(?:#\d+;[^"`;%]*)*<br/><small>[^"`;%<>]*</small>"\]:::\w+'
    r"|[ng]\d+ (?:-->|-\.->|==>) [ng]\d+|classDef \w+ [\w:#,\- ]+)"
)


# --- table -----------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_node_in_a_stable_order() -> None:
    rows = feedback_table(release_report())
    assert [row["node"] for row in rows] == ["facts", "story", "outline", "draft", "cover", "voice", "check", "publish"]
    used = [column for column in COLUMNS if column != "tool"]
    assert all(list(row) == used for row in rows)
    assert rows[6]["error"].startswith("ConnectionError: https://api.example.org answered 503")
    draft = rows[3]
    assert (draft["duration s"], draft["tokens"], draft["cost USD"], draft["attempts"]) == (4, 2_000, 0.0123, 2)
    assert rows[0]["status"] == "completed (reused)"
    assert rows[1]["cost USD"] == "–"  # noqa: RUF001 - unknown, not 0


def test_composites_without_work_have_no_row() -> None:
    assert [row["node"] for row in feedback_table(post_report())] == ["facts", "post", "check", "cover", "file", "bad"]


def test_a_full_table_keeps_what_failed_and_says_what_it_cut() -> None:
    wanted = plan(*(node(f"n{index}") for index in range(30)))
    results = [done(f"n{index}", 0, 1) for index in range(29)]
    report = reported(wanted, result_of(wanted, *results, failed("n29", 0, 1, "no"), status=ExecutionStatus.FAILED))
    rows = feedback_table(report, max_rows=3)
    assert [row["node"] for row in rows] == ["n0", "n1", "n29", "… 27 more nodes left out of this table"]
    assert list(rows[0]) == ["node", "error", "type", "status", "duration s"], "the other columns are empty"


@pytest.mark.parametrize("room", [500, 3_000, 20_000])
def test_a_table_is_no_larger_than_it_may_be(room: int) -> None:
    rows = feedback_table(hostile_report(), max_characters=room)
    assert len(json.dumps(rows)) <= room


# --- summary ---------------------------------------------------------------------------------


def test_the_summary_says_what_matters_in_order() -> None:
    text = markdown_summary(release_report())
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert heads == [
        "✗ Failed in 10.0 s - 8 nodes: 1 failed, 1 skipped, 6 completed; 2 gates: 0.70, 0.90",
        "Failed nodes",
        "What now",
        "Plan",
        "Outputs",
    ]
    assert "```sh\nvibe-prefect resume brave-otter\n```" in text
    assert "Cost: **$0.0123 (+ 1 node of unknown cost)**" in text
    assert "(<http://127.0.0.1:4200/runs/flow-run/0b6c7c9e>)" in text
    assert "(<https://example.org/a.mp4>)" in text
    assert "  - The other side of 'check' did not answer as it should" in text
    assert "retry_with" not in text


def test_a_fair_run_has_no_sections_about_trouble() -> None:
    wanted = plan(node("a"))
    text = markdown_summary(reported(wanted, result_of(wanted, done("a", 0, 1, "x"))))
    assert re.findall(r"^#+ (.*)$", text, re.MULTILINE) == ["✓ Completed in 10.0 s - 1 node", "Plan"]


@pytest.mark.parametrize("report", [hostile_report(), hostile_report(5_000_000)], ids=["hostile", "bulky"])
def test_what_others_wrote_is_inert_in_the_summary(report: RunReport) -> None:
    text = markdown_summary(report)
    assert len(text) <= MAX_CHARACTERS
    prose = FENCE.sub("", text)
    assert not re.search(r"```|!\[|\]\(javascript|<(?!/|http)[a-z]", prose)
    assert re.findall(r"\]\(<?([^>)]*)", prose) == []
    assert "|" not in prose
    assert "\u202e" not in text


@pytest.mark.parametrize("room", [700, 2_000, 5_000])
def test_a_long_summary_loses_whole_sections_and_names_them(room: int) -> None:
    text = markdown_summary(hostile_report(), room)
    assert len(text) <= room
    assert f"Left out, since a summary holds {room:,} characters: " in text
    assert "```" not in FENCE.sub("", text)


@pytest.mark.parametrize(
    "report", [release_report(), hostile_report(), large_report(400)], ids=["fair", "hostile", "large"]
)
def test_the_drawing_holds_only_what_mermaid_draws(report: RunReport) -> None:
    lines = flowchart(report)[0].splitlines()
    assert [text for text in lines if not MERMAID_LINE.fullmatch(text)] == []
    assert sum(" subgraph " in text for text in lines) == sum(text.strip() == "end" for text in lines)


def test_composites_enclose_their_children() -> None:
    lines = [text.strip() for text in flowchart(release_report())[0].splitlines()]
    begin, end = next(i for i, text in enumerate(lines) if text.startswith("subgraph gn1")), lines.index("end")
    assert [text.split("[")[0] for text in lines[begin + 1 : end]] == ["n1", "n2", "n3"]
    assert lines[begin + 1].endswith(":::completed")
    assert any(text.startswith("n0[") and text.endswith(":::reused") for text in lines)


def nested_report(composites: int = 20, size: int = 9) -> RunReport:
    """A run of composites one after another, each of nodes one after another, of which the last fails."""
    nodes = [
        node(
            f"c{index}",
            "composite",
            needs=[f"c{index - 1}"] if index else [],
            children=[node(f"c{index}n{part}", needs=[f"c{index}n{part - 1}"] if part else []) for part in range(size)],
        )
        for index in range(composites)
    ]
    wanted = plan(*nodes, id="nested")
    ids = [f"c{index}n{part}" for index in range(composites) for part in range(size)]
    results = [done(id, 0, 1) for id in (*ids[:-1], *(f"c{index}" for index in range(composites)))]
    return reported(wanted, result_of(wanted, *results, failed(ids[-1], 0, 1, "no"), status=ExecutionStatus.FAILED))


def test_a_long_plan_is_drawn_with_its_composites_closed() -> None:
    chart, note = flowchart(nested_report())
    lines = [line.strip() for line in chart.splitlines()]
    assert note == "180 nodes within composites drawn closed"
    assert sum(" --> " in line or " ==> " in line or " -.-> " in line for line in lines) == 19
    assert len([line for line in lines if line.startswith("n") and "[" in line]) == 20
    assert lines[1] == 'n0["✓ c0<br/><small>9 nodes within: 9 completed</small>"]:::completed'
    assert lines[20] == 'n19["✗ c19<br/><small>9 nodes within: 1 failed, 8 completed</small>"]:::failed'
    assert all(MERMAID_LINE.fullmatch(line) for line in chart.splitlines())
    assert "subgraph" in flowchart(nested_report(3, 3))[0], "a short plan is drawn whole"


def test_a_plan_too_large_to_read_is_drawn_as_its_groups() -> None:
    chart, note = flowchart(large_report(MAX_NODES + 50))
    assert chart.count(":::") == 20
    assert "10 completed" in chart
    assert note == "200 nodes drawn as 20 groups of nodes that can run at once"


# --- progress --------------------------------------------------------------------------------


def test_progress_names_what_runs_and_what_failed() -> None:
    text = progress_note(3, 12, running=["a", "b"], failed=["c"], reused=1, eta=75)
    assert text.splitlines() == [
        "`██████░░░░░░░░░░░░░░░░░░` **25 %** - 3 of 12 nodes done (1 reused), about 1 min 15 s left",
        "",
        "▶ running: **a**, **b**",
        "",
        "✗ failed: **c**",
    ]


def test_progress_counts_what_it_does_not_name() -> None:
    assert progress_note(0, 99, running=[f"n{index}" for index in range(50)]).endswith("**n7** and 42 more\n")


@pytest.mark.parametrize(("part", "full"), [(0, 0), (0.001, 1), (0.5, 12), (0.999, 23), (1, 24)])
def test_a_bar_is_full_only_at_the_end(part: float, full: int) -> None:
    assert bar(part) == "█" * full + "░" * (24 - full)


def test_progress_of_an_empty_plan_is_complete() -> None:
    assert progress_note(0, 0).startswith(f"`{'█' * 24}` **100 %** - 0 of 0 nodes done")


# --- timeline and words ----------------------------------------------------------------------


def test_bars_lie_where_the_nodes_ran() -> None:
    line = timeline(release_report())
    places = {bar.node.id: (bar.x, bar.width, bar.critical) for bar in line.bars}
    assert places == {
        "story": (0, 50, True),
        "cover": (0, 300, False),
        "outline": (50, 150, True),
        "draft": (200, 400, True),
        "voice": (600, 300, False),
        "check": (600, 400, True),
    }
    assert [node.id for node in line.reused] == ["facts"]
    assert line.seconds == 10


def test_a_broken_off_run_says_so() -> None:
    wanted = plan(node("a"))
    result = result_of(wanted, status=ExecutionStatus.RUNNING, completed_at=None)
    assert (
        headline(reported(wanted, result, state="Crashed", simulated=True)) == "Crashed (simulated) - 1 node: 1 pending"
    )


def test_hostile_texts_are_all_in_the_hostile_report() -> None:
    assert len(hostile_report().nodes) == len(HOSTILE)
