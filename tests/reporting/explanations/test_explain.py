"""Explanations of nodes, from a report alone: the decision with its reason, and the text for a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cli.command import CONTROL
from tests.plans import node, plan
from tests.reporting.reports import (
    done,
    failed,
    hostile_report,
    judgement_of,
    learned,
    release_report,
    reported,
    result_of,
    written,
)
from vibe_prefect.errors import UsageError
from vibe_prefect.provenance import Judgement
from vibe_prefect.reporting.explanations.explain import Decision, explain, explain_all
from vibe_prefect.reporting.explanations.explain_text import explanation_lines
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult


def gated(gate: NodeResult | None, **feedback: float) -> RunReport:
    """A text `a`, and a gate `b` with a result; nodes named in the feedback measured a quality."""
    wanted = plan(node("a"), node("b", "validate", needs=["a"]))
    result: ExecutionResult = result_of(wanted, done("a", 0, 1), *([gate] if gate else []))
    for id, quality in feedback.items():
        result.add_feedback(id, learned(quality))
    return reported(wanted, result)


def judging(judgement: Judgement) -> NodeResult:
    made = written("Judge it.", judgement=judgement)
    return done("b", 1, 1, provenance=made) if judgement.passed else failed("b", 1, 1, "too low", made)


PASSED, NOT_PASSED = Judgement(True, 0.8, 0.7), judgement_of("clear", passed=False)
UNJUDGED = {"type": "tool_execution", "result": "x", "metadata": {"judged": False}}
REPORTS = {
    "passed": gated(judging(PASSED)),
    "refused": gated(judging(NOT_PASSED)),
    "checked": gated(judging(Judgement(True, 1.0, criteria=NOT_PASSED.criteria[1:]))),
    "an older version": gated(done("b", 1, 1), b=0.75),
    "unjudged": gated(replace(done("b", 1, 1), result=UNJUDGED)),
    "broken gate": gated(failed("b", 1, 1, "500 from the provider", written("Judge it."))),
    "measured": gated(None, a=0.6),
    "stopped": gated(None),
    "release": release_report(),
}


@pytest.mark.parametrize(
    ("report", "id", "decision", "why"),
    [
        ("passed", "a", Decision.ACCEPTED, "the gate 'b' gave it 0.80 (0.70 needed)"),
        ("passed", "b", Decision.ACCEPTED, "it gave 0.80 (0.70 needed)"),
        (
            "refused",
            "a",
            Decision.REFUSED,
            "the gate 'b' gave it 0.55 (0.70 needed; lowest: clear 0.20 of 0.50 needed)",
        ),
        ("refused", "b", Decision.REFUSED, "it gave 0.55 (0.70 needed; lowest: clear 0.20 of 0.50 needed)"),
        ("checked", "b", Decision.ACCEPTED, "it gave 1.00 (lowest: calm 0.90)"),
        ("an older version", "a", Decision.ACCEPTED, "the gate 'b' gave it 0.75"),
        (
            "unjudged",
            "a",
            Decision.ACCEPTED,
            "it completed without an error, and no gate has judged it: 'b' is not judged",
        ),
        ("unjudged", "b", Decision.ACCEPTED, "it completed without an error; not judged"),
        (
            "broken gate",
            "a",
            Decision.ACCEPTED,
            "it completed without an error, and no gate has judged it: 'b' is failed",
        ),
        ("broken gate", "b", Decision.FAILED, "500 from the provider"),
        ("measured", "a", Decision.ACCEPTED, "it measured itself: 0.60"),
        ("stopped", "b", Decision.UNDECIDED, "the run ended before it"),
        ("release", "cover", Decision.REFUSED, "the gate 'check' gave it 0.55"),
        ("release", "outline", Decision.REFUSED, "the gate 'check' gave it 0.55"),
        ("release", "publish", Decision.SKIPPED, "needs check, which failed; 'check' refused: it gave 0.55"),
        ("release", "facts", Decision.ACCEPTED, "it completed without an error; no gate judges it"),
    ],
)
def test_the_decision_about_a_node_is_told_with_its_reason(report: str, id: str, decision: Decision, why: str) -> None:
    told = explain(REPORTS[report], id)
    assert (told.decision, told.why[: len(why)]) == (decision, why), told.why


def test_a_run_that_goes_on_says_so() -> None:
    going = replace(REPORTS["stopped"], status=ExecutionStatus.RUNNING, state="Running")
    assert explain(going, "b").why == "the run has not come to it"


def test_a_node_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"the run 'brave-otter' has no node 'zzz'; its nodes: a, b"):
        explain(REPORTS["passed"], "zzz")


def test_a_reused_node_names_the_run_that_executed_it() -> None:
    told = explain(REPORTS["release"], "facts")
    assert told.executed_by is not None
    assert (told.reused, told.executed_by.run_name) == (True, "quiet-fox")
    assert "completed in 2.00 s, reused, executed by the run quiet-fox (0b6c7c9e)" in "\n".join(explanation_lines(told))


def test_the_text_answers_which_model_which_prompt_and_how_often() -> None:
    text = "\n".join(explanation_lines(explain(REPORTS["release"], "draft")))
    for words in (
        "model       openai:gpt-5, answered by gpt-5-mini, temperature 0.2",
        "used        1,200 tokens read, 800 written, $0.0123",
        "            Write the announcement.\n\n            Calm, without superlatives.",
        "tool        llm_generate, version 3",
        "attempt 1   2026-03-04 05:06:09 UTC, 0.50 s: ConnectionError: Write the announcement.",
        "next after 2.50 s",
        "attempt 2   2026-03-04 05:06:12 UTC, 1.00 s: succeeded",
        "and 2 more calls",
        "and 3 more calls",
    ):
        assert words in text


def test_no_line_of_a_hostile_run_acts_on_a_terminal() -> None:
    report = hostile_report(100_000)
    lines = [line for told in explain_all(report) for line in explanation_lines(told)]
    assert not [line for line in lines if CONTROL.search(line) or "\u202e" in line]
    assert max(map(len, lines)) < 5_000
