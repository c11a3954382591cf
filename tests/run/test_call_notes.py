"""What a node's provenance keeps of tool calls: bounded, as JSON, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import NodeContext, ToolContext, ToolResult, WorkflowNode, WorkflowNodeType, Workspace, compile_plan
from vibe_prefect.errors import ToolError
from vibe_prefect.provenance import JudgedCriterion, Judgement, ModelCall, NodeProvenance
from vibe_prefect.run.call_notes import CallNotes, judgement_in, kept_inputs
from vibe_prefect.run.measure import Meter
from vibe_prefect.run.node_work import LocalTools, NodeServices, execute_node
from vibe_prefect.run.run_state import NodeRun, RunState
from vibe_prefect.testing import RecordingTool, ScriptedModel, verdict
from vibe_prefect.tools.model_calls import noted_call
from vibe_prefect.tools.registry import ToolRegistry

SECRET = "sk-live-0123456789abcdef"  # noqa: S105 - made up


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    return SECRET


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("inputs", "kept"),
    [
        (
            {"text": "short", "count": 3, "on": True, "none": None},
            {"text": "short", "count": 3, "on": True, "none": None},
        ),
        ({"path": Path("a"), "pair": (1, 2), 3: "number"}, {"path": "<PosixPath>", "pair": [1, 2], "3": "number"}),
        ({"api_key": "anything", "max_tokens": 9}, {"api_key": "***", "max_tokens": 9}),
        ({"url": "https://me:word@host/?token=abc"}, {"url": "https://***@host/?token=***"}),
    ],
)
def test_inputs_are_kept_as_json_data(inputs: dict[Any, Any], kept: dict[str, Any]) -> None:
    assert kept_inputs(inputs) == kept


def test_long_inputs_are_cut_and_what_is_left_out_is_counted() -> None:
    text = f"begin{'x' * 10_000}end"
    kept = kept_inputs({"text": text})["text"]
    assert kept.startswith("begin")
    assert kept.endswith("end")
    assert "[... 6,008 more characters ...]" in kept
    many = kept_inputs({"items": ["y" * 3_000] * 100, "rest": 1})
    assert many["items"][-1] == "... 94 more"
    assert many["..."] == "1 more"
    assert len(json.dumps(many)) < 20_000
    assert len(json.dumps(kept_inputs({"numbers": list(range(100_000))}))) < 20_000
    assert len(json.dumps(kept_inputs(circular()))) < 1_000


def test_no_secret_is_kept_not_even_where_a_text_is_cut(secret: str) -> None:
    notes = CallNotes("x", "1", {"text": f"{'a' * 2_660}{secret}{'b' * 9_000}", "nested": [{"deep": secret}]})
    prompt = f"{'p' * 7_990}{secret}{'q' * 9_000}"
    notes.model_calls.append(ModelCall("m", prompt, secret, {"voice": secret}, error=f"401: {secret}"))
    notes.metadata = {"quality": 1, "criteria": [{"name": "c", "score": 1, "reason": secret, "quotes": [secret]}]}
    kept = json.dumps(NodeProvenance(tool_calls=(notes.tool_call(),)).to_dict())
    assert secret[:12] not in kept
    assert secret[-12:] not in kept
    assert "***" in kept
    assert "more characters" in kept


def test_calls_beyond_the_bounds_are_counted() -> None:
    notes = CallNotes("x", "1", {})
    notes.model_calls += [ModelCall("m")] * 12
    call = notes.tool_call()
    assert (len(call.model_calls), call.model_calls_left_out) == (10, 2)
    meter = Meter()
    with meter:
        for _ in range(7):
            meter.note_call(notes)
    assert (len(meter.provenance.tool_calls), meter.provenance.tool_calls_left_out) == (5, 2)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"judged": False, "evidence": ["no model"]}, None),
        ({"quality": 0.4, "evidence": ["because"]}, Judgement(True, 0.4, evidence=("because",))),
        (
            {"quality": 0.4, "threshold": 0.7, "criteria": [{"name": "c", "score": 0.4, "quotes": ["q"]}, "odd"]},
            Judgement(True, 0.4, 0.7, (JudgedCriterion("c", 0.4, "", ("q",)),)),
        ),
        (
            {"quality": 1, "threshold": "high", "criteria": [{"score": float("nan"), "quotes": "q", "needed": 0.5}]},
            Judgement(True, 1.0, None, (JudgedCriterion("", None, needed=0.5),)),
        ),
        ({"quality": 1, "evidence": ["e"] * 60}, Judgement(True, 1.0, evidence=("e",) * 50, left_out=10)),
    ],
)
def test_a_judgement_is_read_from_a_tools_metadata(metadata: dict[str, Any], expected: Judgement | None) -> None:
    assert judgement_in(metadata, passed=True) == expected


async def outcome_of(subject: WorkflowNode, tools: ToolRegistry, folder: Path, handler: Any = None) -> NodeProvenance:
    """The provenance after one attempt at a node."""
    handlers = {WorkflowNodeType.GENERATE: handler} if handler else {}
    compiled = compile_plan(plan(subject), tools=tools, handled_types=handlers)
    state = RunState(compiled, NodeRun)
    run = state.runs[subject.id]
    work = state.work(run, LocalTools(tools), Workspace(folder, folder / "out"), handlers)
    await execute_node(work, NodeServices(run.meter))
    return NodeProvenance.from_dict(json.loads(json.dumps(run.provenance.to_dict()))) or NodeProvenance()


async def test_the_prompt_is_kept_as_it_was_sent(folder: Path) -> None:
    model = ScriptedModel("A text.")
    inputs = {"prompt": "Write about {{ vibe.description }}", "temperature": 0.2}
    kept = await outcome_of(
        node("a", parameters={"tool": "llm_generate", "tool_inputs": inputs}), model.registry, folder
    )
    (call,) = kept.model_calls
    (asked,) = model.questions
    assert (call.model, call.prompt, call.system) == ("scripted:model", asked.prompt, asked.system)
    assert call.prompt == "Task: Write about a test"
    assert call.parameters == {"max_tokens": 4096, "temperature": 0.2}
    assert (call.answered_by, call.input_tokens, call.error) == ("scripted:model", asked.input_tokens, None)
    assert kept.tool_calls[0].inputs == {"prompt": "Write about a test", "temperature": 0.2}
    assert kept.judgement is None


@pytest.mark.parametrize(("score", "passed"), [(0.9, True), (0.3, False)])
async def test_a_gates_evidence_is_kept_whether_it_passed_or_not(folder: Path, score: float, passed: bool) -> None:
    model = ScriptedModel(verdict({"clear": score}, "Water boils"))
    inputs = {"text": "Water boils when hot.", "criteria": [{"name": "clear", "min": 0.5}]}
    kept = await outcome_of(
        node("a", "validate", parameters={"tool": "judge", "tool_inputs": inputs}), model.registry, folder
    )
    criterion = JudgedCriterion("clear", score, "as scripted", ("Water boils",), 0.5)
    assert kept.judgement == Judgement(passed, score, 0.7, (criterion,))
    assert [call.model for call in kept.model_calls] == ["scripted:model"]


async def test_a_call_that_failed_is_kept_with_its_error(folder: Path) -> None:
    model = ScriptedModel(ToolError("500 from the provider"))
    kept = await outcome_of(node("a"), model.registry, folder)
    assert [(call.prompt, call.error, call.answered_by) for call in kept.model_calls] == [
        ("Task: do a", "500 from the provider", None)
    ]


class OwnModelTool(RecordingTool):
    """A tool of a user's own that notes its calls, or only names its model."""

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        if inputs.get("noted"):
            with noted_call(context or ToolContext(), ModelCall("own:noted", "the prompt")) as call:
                call.note_usage({"input_tokens": 3}, "own:noted-1")
        usage = {"input_tokens": 7, "output_tokens": 2, "cost_usd": 0.5}
        return ToolResult(True, {"text": "x"}, {"model": "own:named", "usage": usage})


async def test_tools_of_handlers_and_of_users_are_kept_too(folder: Path) -> None:
    async def handler(node: WorkflowNode, context: NodeContext) -> Any:
        await context.call_tool("own", {"noted": True})
        return await context.call_tool("own", {"noted": False})

    kept = await outcome_of(node("a"), ToolRegistry([OwnModelTool("own")]), folder, handler)
    assert [call.inputs for call in kept.tool_calls] == [{"noted": True}, {"noted": False}]
    assert kept.model_calls == (
        ModelCall("own:noted", "the prompt", answered_by="own:noted-1", input_tokens=3),
        ModelCall("own:named", input_tokens=7, output_tokens=2, cost_usd=0.5),
    )


@pytest.mark.parametrize("data", [None, {}, {"attempts": "none"}, {"tool_calls": [{"tool": 1}]}])
def test_provenance_that_cannot_be_read_counts_as_unknown(data: dict[str, Any] | None) -> None:
    assert NodeProvenance.from_dict(data) in (None, NodeProvenance())
