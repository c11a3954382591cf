"""Rules of replanning: what each suggested change does to a plan, and what is left to people."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.plans import node, plan
from tests.replanning.runs import WEAK
from vibe_prefect import ToolRegistry, WorkflowPlan, compile_plan
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.replanning.edits import PROMPT, Replan
from vibe_prefect.replanning.notes import HEAD, Miss, literal, with_note
from vibe_prefect.replanning.replan import Compile, replan_after
from vibe_prefect.replanning.rules import MAX_TIMEOUT
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.run.offline import OfflineRun
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.templates.language import render
from vibe_prefect.testing import RecordingTool, ScriptedModel, verdict

IDENTITY = RunIdentity("id", "run-name", "Failed", None, "outputs", None, simulated=False)


def compiler(tools: ToolRegistry) -> Compile:
    return partial(compile_plan, tools=tools, simulate="never")


def reported(subject: WorkflowPlan, tools: ToolRegistry, **options: Any) -> RunReport:
    """The report of a run without a server."""
    run = OfflineRun(compiler(tools)(subject), tools, RunOptions(**options))
    result = asyncio.run(run.execute())
    return report_of(run.compiled, result, IDENTITY)


def replanned(subject: WorkflowPlan, tools: ToolRegistry, **options: Any) -> Replan:
    report = reported(subject, tools, **options)
    compiled_as = compiler(tools)
    return asyncio.run(replan_after(report, compiled_as(subject), tools, compiled_as))


def values(edited: Replan) -> dict[str, Any]:
    return {".".join((edit.node_id, *edit.path)): edit.value for edit in edited.edits}


def failing(error: str) -> ToolRegistry:
    tools = ScriptedModel(ToolError(error), models=("a:one", "b:*", "c:three")).registry
    tools.register(RecordingTool("flaky", error=error))
    return tools


FLAKY = {"tool": "flaky"}
ASKING = {"tool": "llm_generate", "tool_inputs": {"prompt": "Write"}}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = [
    # error, parameters, policy, edits by path, changes that are left
    ("timeout", FLAKY, {"timeout": 5}, {"policy.timeout": 10}, ["break_into_smaller_tasks"]),
    ("timeout", FLAKY, {}, {}, ["increase_timeout", "break_into_smaller_tasks"]),
    ("timeout", FLAKY, {"timeout": MAX_TIMEOUT}, {}, ["increase_timeout", "break_into_smaller_tasks"]),
    ("timeout", FLAKY, {"timeout": 50_000}, {"policy.timeout": MAX_TIMEOUT}, ["break_into_smaller_tasks"]),
    (
        "connection refused",
        FLAKY,
        {},
        {"policy.retry_delay": 1, "policy.retry_backoff": 2, "policy.retries": 3},
        ["use_alternative_endpoint"],
    ),
    (
        "connection refused",
        FLAKY,
        {"retries": 4, "retry_delay": 2},
        {"policy.retry_delay": 2, "policy.retry_backoff": 2, "policy.retries": 8},
        ["use_alternative_endpoint"],
    ),
    (
        "http 503",
        ASKING,
        {"retries": 0},
        {
            "policy.retry_delay": 1,
            "policy.retry_backoff": 2,
            "policy.retries": 3,
            "parameters.tool_inputs.model": "c:three",
        },
        [],
    ),
    ("out of memory", FLAKY, {}, {}, ["reduce_data_size", "use_streaming_approach"]),
    (
        "out of memory",
        ASKING,
        {"retries": 0},
        {"parameters.tool_inputs.context_tokens": 12_000},
        ["use_streaming_approach"],
    ),
    ("no idea", FLAKY, {}, {}, ["retry_with_different_parameters"]),
    ("no idea", ASKING, {"retries": 0}, {"policy.variation": 2}, []),
    ("no idea", ASKING, {"retries": 0, "variation": "b"}, {"policy.variation": "b+"}, []),
]


@pytest.mark.parametrize(("error", "parameters", "policy", "edits", "left"), CASES)
def test_suggested_changes_become_edits_where_a_rule_knows_how(
    error: str, parameters: dict[str, Any], policy: dict[str, Any], edits: dict[str, Any], left: list[str]
) -> None:
    edited = replanned(plan(node("a", parameters=parameters, policy=policy), node("b")), failing(error))
    own = {path: value for path, value in values(edited).items() if path.startswith("a.")}
    assert own == {f"a.{path}": value for path, value in edits.items()}
    assert [one.change for one in edited.open if one.node_id == "a"] == left
    assert all(one.reason for one in edited.open)


def test_last_allowed_model_is_left_as_it_is() -> None:
    parameters = {"tool": "llm_generate", "tool_inputs": {"prompt": "Write", "model": "c:three"}}
    edited = replanned(plan(node("a", parameters=parameters, policy={"retries": 0})), failing("http 503"))
    (left,) = edited.open
    assert (left.change, left.reason) == ("use_alternative_endpoint", "no further model is allowed after 'c:three'")


def judging(question: Question) -> str:
    return verdict({"lively": 0.2, "short": 0.3}, WEAK) if question.schema else WEAK


JUDGE = {"tool": "judge", "tool_inputs": {"criteria": ["lively", "short"]}}


def test_missed_criteria_go_into_the_prompt_with_quotes_whose_braces_stay_text() -> None:
    subject = plan(
        node("post", description="Write {{ vibe.description }}"),
        node("gate", "validate", needs=["post"], parameters=JUDGE),
    )
    edited = replanned(subject, ScriptedModel(judging).registry)
    (edit,) = edited.edits
    assert (edit.node_id, edit.path) == ("post", PROMPT)
    prompt = render(edit.value, {"vibe": {"description": "tea"}})
    assert prompt.startswith(f"Write tea\n\n{HEAD}\n[begin missed points of an earlier version ")
    assert f'- lively: as scripted\n  quote: "{WEAK}"\n- short: as scripted' in prompt
    assert subject.root_nodes[0].parameters == {}
    assert edited.plan.root_nodes[1] is subject.root_nodes[1], "the gate is as strict as it was"


def test_one_note_gathers_what_all_gates_and_items_missed() -> None:
    children = [node("post"), node("gate", "validate", needs=["post"], parameters=JUDGE)]
    edited = replanned(
        plan(node("posts", "composite", for_each="{{ ['tea', 'jam'] }}", children=children)),
        ScriptedModel(judging).registry,
    )
    (edit,) = edited.edits
    assert edit.node_id == "post"
    assert str(edit.value).count("- lively") == 1
    assert "posts.0.gate" in edit.reason
    assert [child.id for child in edited.plan.root_nodes[0].children] == ["post", "gate"]


def test_second_note_replaces_the_first() -> None:
    once = with_note("Write {{ inputs.x }}", [Miss("lively", "dull", ("{{ a }}",))])
    twice = with_note(once, [Miss("short", "long", ())])
    assert twice.count(HEAD) == 1
    assert "lively" not in twice
    assert twice.startswith("Write {{ inputs.x }}")


@pytest.mark.parametrize("text", ["{{ x }}", "{% raw %}", "{{{", "{#", "{", "a }} b %}", "{%{{", "[end 0123456789ab]"])
def test_any_text_is_literal_in_a_template(text: str) -> None:
    assert render(f"{literal(text)} {{{{ 1 }}}}", {}) == f"{text} 1"


def test_budget_and_inputs_are_left_to_people() -> None:
    edited = replanned(plan(node("a", parameters=ASKING)), ScriptedModel("x" * 3_000).registry, max_tokens=5)
    assert edited.is_empty
    assert [one.change for one in edited.open] == ["larger_budget"]


def test_gate_on_fixed_work_is_left_to_people() -> None:
    check = {"tool": "check_text", "tool_inputs": {"text": "{{ outputs.a.text }}", "max_words": 1}}
    fixed = {"tool": "template_fill", "tool_inputs": {"template": "far too long"}}
    edited = replanned(
        plan(node("a", parameters=fixed), node("gate", "validate", needs=["a"], parameters=check)),
        ScriptedModel().registry,
    )
    assert edited.is_empty
    assert [(one.node_id, one.change) for one in edited.open] == [("gate", "mend_missed_criteria")]


@pytest.mark.parametrize("error", ["no idea", "MemoryError: out of memory"])
def test_gate_that_failed_asks_no_other_model_and_judges_no_other_variation(error: str) -> None:
    def reply(question: Question) -> str:
        if question.schema:
            raise ToolError(error)
        return "A text that is long enough to be one."

    gate = node("gate", "validate", needs=["post"], parameters=JUDGE, policy={"retries": 0})
    models = ("a:one", "b:two")
    edited = replanned(plan(node("post"), gate), ScriptedModel(reply, models=models).registry)
    assert edited.is_empty
    assert {one.node_id for one in edited.open} == {"gate"}
    assert any("gates stay as strict as they are" in one.reason for one in edited.open)
