"""Retried nodes in reports: real begins and ends, pauses between attempts."""

from __future__ import annotations

import pytest

from tests.plans import node, plan
from tests.reporting.reports import at, done, reported, result_of
from vibe_prefect.provenance import Attempt, NodeProvenance
from vibe_prefect.reporting.html import render_html
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.timeline import Segment, timeline
from vibe_prefect.reporting.times.spans import Span, side_by_side
from vibe_prefect.results import ExecutionStatus


@pytest.fixture
def retried() -> RunReport:
    """The node `post` fails after 1 s, pauses for 3 s, and completes after 2 s more, when `draw` has ended."""
    wanted = plan(node("post"), node("draw"), node("last", needs=["post", "draw"]))
    attempts = (Attempt(at(0), 1, "ToolError", "HTTP 500", wait=3), Attempt(at(4), 2))
    post = done("post", 0, 3, provenance=NodeProvenance(attempts=attempts))
    result = result_of(wanted, post, done("draw", 0, 5), done("last", 6, 4), total_duration=10, completed_at=at(10))
    return reported(wanted, result)


def test_retried_node_is_one_bar_with_its_attempts(retried: RunReport) -> None:
    bars = {bar.node.id: bar for bar in timeline(retried).bars}
    post = bars["post"]
    assert (post.begin, post.seconds, post.x, post.width) == (0, 6, 0, 600)
    assert post.segments == (
        Segment(0, 100, ExecutionStatus.FAILED),
        Segment(400, 200, ExecutionStatus.COMPLETED),
    )
    assert [len(bars[id].segments) for id in ("draw", "last")] == [1, 1]


def test_retried_node_is_on_the_critical_path_until_its_real_end(retried: RunReport) -> None:
    assert retried.critical_path == ("post", "last")


def test_time_saved_counts_work_side_by_side_and_no_pauses(retried: RunReport) -> None:
    # 12 s of work in 10 s: the first attempt and one second of the second lay beside `draw`.
    assert retried.side_by_side == pytest.approx(2 / 12)
    assert "Saved by running side by side: **17%**" in markdown_summary(retried)


def test_page_draws_attempts_and_pauses(retried: RunReport) -> None:
    page = render_html(retried)
    assert "post: completed, begins after 0.00 s, takes 6.00 s, 2 attempts" in page
    assert page.count('class="tl is-waiting') == 2, "in the legend and in the bar of `post`"


@pytest.mark.parametrize(
    ("spans", "saved"),
    [
        ([], None),
        ([Span(1, 1)], None),
        ([Span(0, 2), Span(2, 4)], 0),
        ([Span(0, 2), Span(0, 2)], 0.5),
        ([Span(0, 4), Span(1, 2), Span(6, 7)], 1 / 6),
    ],
)
def test_time_saved_is_what_overlaps(spans: list[Span], saved: float | None) -> None:
    assert side_by_side(spans) == pytest.approx(saved)
