from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.plans import node, plan
from tests.reporting.reports import (
    done,
    failed,
    hostile_report,
    learned,
    picture,
    release_plan,
    release_report,
    reported,
    result_of,
)
from vibe_prefect import ExecutionStatus, NodeResult, UsageError, build_graph
from vibe_prefect.core.outputs import MAX_FILES, MAX_OUTPUT, OutputFile, output_files, preview_of
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.table import feedback_table
from vibe_prefect.reporting.times.critical import measured_path
from vibe_prefect.reporting.times.spans import moment
from vibe_prefect.reporting.words import UNKNOWN, headline
from vibe_prefect.text.sendable import MAX_ERROR


@pytest.mark.parametrize("report", [release_report(), hostile_report()], ids=["fair", "hostile"])
def test_a_report_survives_json(report: RunReport) -> None:
    assert RunReport.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, r"its schema is 2, and this version reads 1; write the report again"),
        ({"schema_version": None}, r"its schema is None"),
        ({"status": "done"}, r"run report: status: .*found 'done'; write the report again"),
        ({"nodes": 3}, r"run report: nodes: expected a list, found 3"),
    ],
)
def test_other_data_are_refused_with_the_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunReport.from_dict(release_report().to_dict() | change)


def test_a_node_is_what_its_result_and_its_feedback_say() -> None:
    draft = release_report().by_id["draft"]
    assert (draft.parent, draft.depth, draft.dependencies) == ("story", 2, ("outline",))
    assert (draft.duration, draft.expected, draft.quality, draft.efficiency) == (4, 2, 0.9, 1.5)
    assert (draft.attempts, draft.tokens, draft.cost_usd) == (2, 2_000, 0.0123)
    assert (draft.cpu_scope, draft.memory_scope, draft.bytes_written) == ("thread", None, None)


def test_a_failed_node_tells_why_and_what_to_change() -> None:
    check = release_report().by_id["check"]
    assert check.error_type == "ConnectionError"
    assert check.error is not None
    assert check.suggestions == ("retry_with_backoff", "use_alternative_endpoint")
    assert check.evidence == ("the headline says 'Lorem ipsum'",)


def test_what_has_no_result_yet_is_pending_and_nothing_is_made_up() -> None:
    wanted = plan(node("a"), node("b", needs=["a"]))
    running = NodeResult("a", ExecutionStatus.RUNNING, started_at="2026-03-04T05:06:07+00:00")
    result = result_of(wanted, running, status=ExecutionStatus.RUNNING, completed_at=None)
    report = reported(wanted, result, state="Running")
    a, b = report.nodes
    assert (a.status, b.status) == (ExecutionStatus.RUNNING, ExecutionStatus.PENDING)
    assert (a.duration, a.quality, a.cost_usd, a.memory, b.started_at) == (None,) * 5
    assert (report.seconds, report.parallel_efficiency, report.critical_path) == (None, None, ())
    assert (report.totals.qualities, report.totals.cost_usd, report.totals.tokens) == ((), None, None)


def test_totals_count_what_this_run_paid_for() -> None:
    totals = release_report().totals
    assert totals.statuses[ExecutionStatus.COMPLETED] == 6
    assert (totals.reused, totals.finished, totals.nodes) == (1, 8, 8)
    assert (totals.input_tokens, totals.output_tokens, totals.tokens) == (1_500, 800, 2_300)
    assert totals.cost_usd == 0.0123
    assert totals.unpriced == 1  # `voice` asked a model and nobody knows for how much
    assert totals.qualities == (0.7, 0.9), "what nobody judged counts for nothing"


def test_headline_names_what_was_judged_and_what_was_not() -> None:
    wanted = plan(node("a"), node("b"), node("c"), node("d"))
    result = result_of(
        wanted,
        done("a", 0, 1, "text"),
        replace(done("b", 0, 1), result={"result": "text", "metadata": {"judged": False}}),
        replace(done("c", 0, 1), result={"result": "text", "metadata": {"written_by": "template"}}),
        replace(done("d", 0, 1), result={"result": "text", "simulated": True}),
    )
    assert headline(reported(wanted, result)).endswith(
        "4 nodes; 1 not judged; 1 from a template, without a model; 1 simulated"
    )
    result.add_feedback("a", learned(0.9))
    result.add_feedback("d", learned(0.4))
    report = reported(wanted, result)
    assert "4 nodes; 2 gates: 0.40, 0.90; 1 not judged" in headline(report)
    assert "Gates: **0.40, 0.90**" in markdown_summary(report)
    statuses = [row["status"] for row in feedback_table(report)]
    assert statuses == [
        "completed",
        "completed, not judged",
        "completed, from a template, without a model",
        "completed, simulated",
    ]
    assert [row["quality"] for row in feedback_table(report)] == [0.9, UNKNOWN, UNKNOWN, 0.4]


def test_a_reused_nodes_cost_is_not_this_runs() -> None:
    wanted = plan(node("a"))
    result = result_of(wanted, done("a", 0, 1, "text", reused=True))
    result.add_feedback("a", learned(cost_usd=5.0, input_tokens=7))
    totals = reported(wanted, result).totals
    assert (totals.cost_usd, totals.tokens, totals.unpriced) == (None, None, 0)


def test_the_critical_path_is_the_chain_that_held_the_end_back() -> None:
    assert release_report().critical_path == ("story", "outline", "draft", "check")


@pytest.mark.parametrize(
    ("spans", "path"),
    [
        ({}, ()),
        ({"publish": (0, 1)}, ("publish",)),
        ({"facts": (0, 1), "cover": (1, 9), "story": (1, 2), "check": (9, 10)}, ("facts", "cover", "check")),
        ({"facts": (0, 1), "cover": (1, 2), "story": (1, 3), "check": (9, 10)}, ("facts", "story", "check")),
        ({"story": (1, 2), "outline": (2, 8), "voice": (8, 9)}, ("story", "outline", "voice")),
    ],
)
def test_critical_paths(spans: dict[str, tuple[float, float]], path: tuple[str, ...]) -> None:
    assert measured_path(build_graph(release_plan()), spans) == path


def test_a_deep_chain_costs_no_stack() -> None:
    wanted = plan(*(node(f"n{i}", needs=[f"n{i - 1}"] if i else []) for i in range(3_000)))
    spans = {f"n{i}": (float(i), i + 1.0) for i in range(3_000)}
    assert len(measured_path(build_graph(wanted), spans)) == 3_000


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        (picture("a.png"), ["a.png"]),
        ({"images": [picture("a.png"), {"deep": picture("b.png")}], "cover": picture("a.png")}, ["a.png", "b.png"]),
        ({"path": "a.png", "mime": "image/png"}, []),
        ({**picture(), "path": 3}, []),
        ("a.png", []),
        (None, []),
    ],
)
def test_files_are_found_anywhere_in_an_output(output: Any, paths: list[str]) -> None:
    assert [file.path for file in output_files(output)] == paths


def test_unknown_sizes_and_hashes_are_none() -> None:
    found = output_files({"path": "a", "mime": "x/y", "sha256": 4, "bytes": True})
    assert found == (OutputFile("a", "x/y", None, None),)


def test_the_search_for_files_is_bounded() -> None:
    deep: Any = picture()
    for _ in range(100_000):
        deep = [deep]
    assert output_files(deep) == ()
    assert len(output_files([picture(f"{index}") for index in range(5_000)])) == MAX_FILES


@pytest.mark.parametrize(
    ("output", "preview"),
    [
        ("words", "words"),
        ({"text": "words", "model": "m"}, "words"),
        ({"a": 1}, '{\n  "a": 1\n}'),
        (picture(), None),
        ([picture(), picture("b")], None),
        ("  ", None),
        (None, None),
        ("x" * (MAX_OUTPUT + 7), f"{'x' * MAX_OUTPUT}\n[... 7 more characters cut]"),
        ("a\ud800b", "a?b"),
    ],
)
def test_previews(output: Any, preview: str | None) -> None:
    assert preview_of(output) == preview


def test_long_errors_are_cut() -> None:
    wanted = plan(node("a"))
    report = reported(wanted, result_of(wanted, failed("a", 0, 1, "x" * 5_000_000), status=ExecutionStatus.FAILED))
    assert len(report.nodes[0].error or "") < MAX_ERROR + 100


@pytest.mark.parametrize(
    ("text", "at"),
    [("1970-01-01T00:00:02+00:00", 2), ("1970-01-01T00:00:02", 2), ("soon", None), ("", None), (None, None)],
)
def test_moments(text: str | None, at: float | None) -> None:
    assert moment(text) == at
