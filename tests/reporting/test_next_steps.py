from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from tests.refusals import gated, refusing
from tests.reporting.reports import learned_of_failure, release_report, reported, result_of
from vibe_prefect import ExecutionStatus, ToolRegistry, WorkflowPlan, compile_plan
from vibe_prefect.cli.display.outcomes import outcome_lines
from vibe_prefect.core.feedback import Failure, suggested_changes
from vibe_prefect.reporting.html import render_html
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.next_steps import SENTENCES, advice, next_steps, suggestion_sentences, verdict
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.reporting.table import feedback_table
from vibe_prefect.reporting.words import spending
from vibe_prefect.testing import RecordingTool, ScriptedModel, run_offline

CODES = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
RESUME = "vibe-prefect resume plan-calm-otter"
REPLAN = "vibe-prefect replan plan-calm-otter"


def report_offline(
    wanted: WorkflowPlan, tools: ToolRegistry, folder: Path, *, identity: dict[str, Any] | None = None, **options: Any
) -> RunReport:
    """The report of a run without a server."""
    result = asyncio.run(run_offline(wanted, tools, output=folder / "outputs", **options))
    failed = result.status is ExecutionStatus.FAILED
    known: dict[str, Any] = {"state": "Failed" if failed else "Completed", "resume_command": RESUME if failed else None}
    run = RunIdentity(
        run_id="1",
        run_name="plan-calm-otter",
        output_root=str(folder / "outputs"),
        run_url=None,
        simulated=False,
        **(known | (identity or {})),
    )
    return report_of(compile_plan(wanted, tools=tools), result, run)


def commands(report: RunReport) -> list[str]:
    return [step.command for step in next_steps(report)]


ACCEPT = 'vibe-prefect accept plan-calm-otter tone --because "..."'


def test_a_refused_gate_is_written_again_edited_or_accepted(tmp_path: Path) -> None:
    report = report_offline(gated(), refusing().registry, tmp_path)
    assert commands(report) == [f"{RESUME} --refresh post+", REPLAN, f"{RESUME} --plan FILE", ACCEPT]
    said = verdict(report.by_id["tone"], report)
    assert said.startswith("'post' was refused by 'tone': judged 0.40, and 0.7 is needed: warm: 0.4: as scripted")
    remedy = "Write 'post' again, edit the plan, or accept it with a reason."
    assert advice(report.by_id["tone"], report) == (remedy,)
    text = markdown_summary(report)
    page = render_html(report)
    for face in (text, page):
        assert "accept plan-calm-otter tone --because" in face
        assert "accept it with a reason" in face
    assert feedback_table(report)[1]["suggestions"] == remedy


def test_an_edited_plan_file_is_offered_first(tmp_path: Path) -> None:
    edited = {"plan_file": "my plan.yaml", "plan_changed": True}
    report = report_offline(gated(), refusing().registry, tmp_path, identity=edited)
    first = next_steps(report)[0]
    assert first.purpose == "my plan.yaml has changed since the run began; to resume with the edit"
    assert commands(report) == [f"{RESUME} --plan 'my plan.yaml'", f"{RESUME} --refresh post+", ACCEPT]


def test_what_a_template_wrote_is_not_written_again(tmp_path: Path) -> None:
    drafted = {"tool": "template_fill", "tool_inputs": {"template": "Too short"}}
    checked = {"tool": "check_text", "tool_inputs": {"text": "{{ outputs.post.text }}", "min_words": 5}}
    wanted = plan(node("post", parameters=drafted), node("tone", "validate", needs=["post"], parameters=checked))
    report = report_offline(wanted, ScriptedModel().registry, tmp_path)
    assert commands(report) == [f"{RESUME} --plan FILE", ACCEPT]


def test_what_is_written_again_is_found_behind_gates_composites_and_copies(tmp_path: Path) -> None:
    passed = {"tool": "check_text", "tool_inputs": {"text": "{{ outputs.other.text }}", "min_words": 1}}
    copied = {"tool": "template_fill", "tool_inputs": {"template": "{{ outputs.short.text }}"}}
    wanted = plan(
        node("part", "composite", children=[node("post")]),
        node("other"),
        node("short", "validate", needs=["other"], parameters=passed),
        node("copy", "transform", needs=["short"], parameters=copied),
        node("tone", "validate", needs=["part", "copy"], parameters={"tool": "no", "tool_inputs": {"text": "x"}}),
    )
    tools = refusing().registry
    tools.register(RefusingTool())
    report = report_offline(wanted, tools, tmp_path)
    assert commands(report)[0] == f"{RESUME} --refresh 'post+ other+'"


class RefusingTool(RecordingTool):
    """A gate that refuses whatever it gets."""

    def __init__(self) -> None:
        super().__init__("no")

    async def execute(self, inputs: dict[str, Any], context: Any = None) -> Any:
        result = await super().execute(inputs, context)
        return replace(result, success=False, error="no", metadata={"quality": 0.1, "retryable": False})


def test_a_failure_that_may_pass_is_resumed_as_it_is(tmp_path: Path) -> None:
    down = ToolRegistry([RecordingTool("down", error="Connection refused")])
    report = report_offline(plan(node("a", parameters={"tool": "down", "tool_inputs": {}})), down, tmp_path)
    assert commands(report) == [RESUME, REPLAN]
    assert advice(report.by_id["a"], report)[0].startswith("The other side of 'a' did not answer as it should")


def test_inputs_that_stay_wrong_ask_for_an_edit(tmp_path: Path) -> None:
    parameters = {"tool": "template_fill", "tool_inputs": {"template": "{{ outputs.a.missing }}"}}
    wanted = plan(
        node("a", parameters={"tool": "any", "tool_inputs": {}}), node("b", needs=["a"], parameters=parameters)
    )
    tools = refusing().registry
    tools.register(RecordingTool("any", {"text": "x"}))
    report = report_offline(wanted, tools, tmp_path)
    assert commands(report) == [f"{RESUME} --plan FILE"]


def test_a_budget_that_ends_asks_for_a_larger_one_once(tmp_path: Path) -> None:
    wanted = plan(*(node(f"n{index}", description="Write a text. " * (index + 1)) for index in range(4)))
    report = report_offline(wanted, ScriptedModel().registry, tmp_path, max_tokens=10)
    assert {node.error for node in report.nodes} == {report.nodes[0].error}, "the same error for each"
    assert sum(str(line).count("budget: stopped") for line in outcome_lines(report, None)) == 1
    assert markdown_summary(report).count("budget: stopped") == 1
    assert len(commands(report)) == 1
    assert commands(report)[0].startswith(f"{RESUME} --max-tokens ")


def test_the_last_line_says_tokens_and_cost() -> None:
    assert spending(release_report().totals) == "2,300 tokens, $0.0123 (+ 1 node of unknown cost)"
    assert spending(reported(plan(), result_of(plan())).totals) == ""


def test_a_run_that_broke_off_is_resumed_as_it_is(tmp_path: Path) -> None:
    report = report_offline(gated(), refusing().registry, tmp_path)
    nodes = tuple(
        replace(node, status=ExecutionStatus.PENDING) if node.id == "publish" else node for node in report.nodes
    )
    assert commands(replace(report, nodes=nodes))[0] == RESUME


@pytest.mark.parametrize(
    ("error_type", "message"),
    [("TimeoutError", "timeout"), ("MemoryError", "memory"), ("ConnectionError", "gone"), ("ValueError", "no")],
)
def test_codes_are_sentences_wherever_people_read(error_type: str, message: str) -> None:
    feedback = learned_of_failure(error_type, message)
    report = release_report()
    codes = feedback["suggested_changes"]
    nodes = tuple(replace(node, suggestions=tuple(codes)) for node in report.nodes)
    report = replace(report, nodes=nodes)
    [sentence] = advice(report.by_id["check"], report)
    assert "'check'" in sentence
    suggestion = {"node_id": "check", "suggested_changes": codes}
    for text in (
        sentence,
        *suggestion_sentences(suggestion, report),
        *(row["suggestions"] for row in feedback_table(report)),
    ):
        assert not CODES.search(text)
    shown = markdown_summary(report) + re.sub(r"(?s)<style>.*?</style>|<script>.*?</script>", "", render_html(report))
    assert not any(code in shown for code in codes)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (["enhance_output_detail"], "'check' returned less than 20 characters"),
        (["reduce_task_complexity", "parallelize_subtasks"], "'check' took 4.00 s, and the plan expects"),
        (["my_own_advice"], "my_own_advice"),
    ],
)
def test_each_code_has_its_sentence(codes: list[str], words: str) -> None:
    report = release_report()
    check = replace(report.by_id["check"], status=ExecutionStatus.COMPLETED, suggestions=tuple(codes), error=None)
    [sentence] = advice(check, report)
    assert sentence.startswith(words)


def test_every_code_of_the_contract_has_a_sentence() -> None:
    failures = [
        Failure("TimeoutError", ""),
        Failure("MemoryError", ""),
        Failure("HTTPError", ""),
        Failure("KeyError", ""),
    ]
    assert {code for failure in failures for code in suggested_changes(failure)} <= SENTENCES.keys()
