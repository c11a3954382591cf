"""Runs to report, without an engine: a fair one, a hostile one, a large one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.plans import node, plan
from vibe_prefect import ExecutionResult, ExecutionStatus, NodeResult, Vibe, WorkflowPlan, compile_plan
from vibe_prefect.provenance import (
    Attempt,
    JudgedCriterion,
    Judgement,
    ModelCall,
    NodeProvenance,
    RunLabel,
    ToolCall,
)
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of

BEGIN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

HOSTILE = [
    "<script>window.__pwned=1</script>",
    '"><img src=x onerror="window.__pwned=1">',
    "[click](javascript:window.__pwned=1)",
    "![x](http://tracker.example/pixel.png)",
    "| a | b |\n| --- | --- |\n| 1 | 2 |",
    "```\n# out of the fence\n```mermaid",
    "`code` **bold** _em_ ~~gone~~ # head",
    "<javascript:alert(1)> <http://tracker.example>",
    "</pre></style></script><svg onload=window.__pwned=1>",
    "{{ 7 * 7 }} {% raw %}",
    '%%{init: {"securityLevel": "loose"}}%% ; click a "javascript:alert(1)"; end',
    "a\u202egnp.exe \u2066x\u2069 \x00\x1b[31m \ud800",
    "&lt;b&gt; &#60;b&#62; \\<b\\>",
    "1. one\n- two\n+ three\n> four\n===",
    "👩\u200d🚀 مرحبا 日本",
]
"""What a model or a user may write."""


def at(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def done(id: str, begin: float, took: float, result: Any = None, **fields: Any) -> NodeResult:
    output = {"type": "generation", "result": result} if result is not None else {"x": 1}
    values: dict[str, Any] = {
        "status": ExecutionStatus.COMPLETED,
        "started_at": at(begin),
        "duration": took,
        "result": output,
    }
    return NodeResult(id, **(values | fields))


def failed(id: str, begin: float, took: float, error: str, made: NodeProvenance | None = None) -> NodeResult:
    return NodeResult(id, ExecutionStatus.FAILED, None, error, took, at(begin), provenance=made)


def written(
    text: str,
    *,
    retried: bool = False,
    run: str = "brave-otter",
    judgement: Judgement | None = None,
    last_try: tuple[float, float] = (5, 1.5),
) -> NodeProvenance:
    """Return the provenance of a node that asked a model, with the same text in every place."""
    begin, took = last_try
    refused = judgement is not None and not judgement.passed
    last = Attempt(at(begin), took, "ToolError", text) if refused else Attempt(at(begin), took)
    before = (Attempt(at(2), 0.5, "ConnectionError", text, 2.5),) if retried else ()
    call = ModelCall("openai:gpt-5", text, text, {"temperature": 0.2, "voice": text}, "gpt-5-mini", 1_200, 800, 0.0123)
    tool_call = ToolCall("llm_generate", "3", {"prompt": text, "list": [text]}, (call,), 2, judgement)
    return NodeProvenance(RunLabel("0b6c7c9e", run), (*before, last), (tool_call,), 3)


def judgement_of(text: str, *, passed: bool) -> Judgement:
    """Return a judgement with the same text in every place."""
    criteria = (JudgedCriterion(text, 0.2, text, (text, text), 0.5, 4), JudgedCriterion("calm", 0.9, text))
    return Judgement(passed, 0.55, 0.7, criteria, (text,), 6)


def learned(judged: float | None = None, **usage: Any) -> dict[str, Any]:
    """Return feedback about a node, by default of one that nobody judged, of which the contract guesses 0.8."""
    return {
        "execution_quality": 0.8 if judged is None else judged,
        **({} if judged is None else {"measured_quality": judged}),
        "resource_usage": {"cpu_time": 0.1, "memory_usage": 1_000, "scope": "thread", "efficiency_ratio": 1.5} | usage,
        "performance_metrics": {"duration": 1.0, "expected_duration": 2.0, "efficiency": 1.5},
        "replan_indicators": [],
        "optimization_suggestions": ["enhance_output_detail"],
    }


def learned_of_failure(kind: str, message: str) -> dict[str, Any]:
    return {
        "execution_quality": 0.0,
        "error_type": kind,
        "error_message": message,
        "replannable": True,
        "resource_usage": {"cpu_time": 0.1, "memory_usage": 1_000, "scope": "process", "attempts": 3},
        "suggested_changes": ["retry_with_backoff", "use_alternative_endpoint"],
        "evidence": ["the headline says 'Lorem ipsum'"],
    }


def result_of(wanted: WorkflowPlan, *results: NodeResult, **fields: Any) -> ExecutionResult:
    values: dict[str, Any] = {
        "status": ExecutionStatus.COMPLETED,
        "completed_at": at(10),
        "total_duration": 10.0,
    } | fields
    result = ExecutionResult(wanted.id, started_at=at(0), **values)
    for one in results:
        result.add_node_result(one)
    return result


def reported(wanted: WorkflowPlan, result: ExecutionResult, **fields: Any) -> RunReport:
    values: dict[str, Any] = {
        "run_id": "0b6c7c9e",
        "run_name": "brave-otter",
        "state": "Completed",
        "resume_command": None,
        "output_root": "outputs/0b6c7c9e",
        "run_url": "http://127.0.0.1:4200/runs/flow-run/0b6c7c9e",
        "simulated": False,
    }
    return report_of(compile_plan(wanted, simulate="all"), result, RunIdentity(**(values | fields)))


def picture(path: str = "cover.png", mime: str = "image/png", size: int = 68) -> dict[str, Any]:
    return {"path": path, "mime": mime, "sha256": "ab" * 32, "bytes": size}


def release_plan() -> WorkflowPlan:
    story = [node("outline", estimated_duration=1), node("draft", needs=["outline"], estimated_duration=2)]
    nodes = [
        node("facts", "analyze", estimated_duration=2),
        node("story", "composite", needs=["facts"], children=story),
        node("cover", needs=["facts"], estimated_duration=4),
        node("voice", needs=["story"]),
        node("check", "validate", needs=["story", "cover"]),
        node("publish", "transform", needs=["check", "voice"]),
    ]
    return plan(*nodes, id="release-digest")


def release_report() -> RunReport:
    """A run in which a node was kept, one failed and one was skipped."""
    wanted = release_plan()
    result = result_of(
        wanted,
        done(
            "facts",
            -100,
            2,
            "Twelve commits, three of them breaking.",
            reused=True,
            provenance=written("Read the log.", run="quiet-fox"),
        ),
        done("story", 0, 0.5, "organised"),
        done("outline", 0.5, 1.5, {"text": "# Outline\n\n1. What is new\n2. What breaks"}),
        done(
            "draft",
            2,
            4,
            "A calm release with one sharp edge. " * 20,
            provenance=written("Write the announcement.\n\nCalm, without superlatives.", retried=True, last_try=(5, 1)),
        ),
        done("cover", 0, 3, picture()),
        done("voice", 6, 3, [picture("voice.wav", "audio/wav"), picture("https://example.org/a.mp4", "video/mp4")]),
        failed(
            "check",
            6,
            4,
            "ConnectionError: https://api.example.org answered 503\nafter 3 attempts",
            written(
                "Judge the announcement.", judgement=judgement_of("the headline shouts", passed=False), last_try=(6, 4)
            ),
        ),
        NodeResult("publish", ExecutionStatus.SKIPPED, error="needs check, which failed"),
        status=ExecutionStatus.FAILED,
        parallel_efficiency=0.35,
    )
    for id in ("story", "outline", "draft", "cover", "voice"):
        result.add_feedback(id, learned())
    result.add_feedback("draft", learned(0.9, attempts=2, input_tokens=1_200, output_tokens=800, cost_usd=0.0123))
    result.add_feedback("voice", learned(0.7, input_tokens=300, output_tokens=0))
    result.add_feedback("check", learned_of_failure("ConnectionError", "https://api.example.org answered 503"))
    result.suggest_replan(
        {"node_id": "check", "replan_reason": "execution_failure", "suggested_changes": ["retry_with_backoff"]}
    )
    return reported(wanted, result, state="Failed", resume_command="vibe-prefect resume brave-otter")


def hostile_report(bulk: int = 0) -> RunReport:
    """A run in which every text is an attack; `bulk` more characters stand in one output and one error."""
    everything = "\n".join(HOSTILE)
    # What a plan cannot hold, since no server could, comes from tools and models alone.
    holdable = [text.replace("\ud800", "").replace("\x00", "") for text in HOSTILE]
    holdable_text = "\n".join(holdable)
    nodes = [node(f"n{index}", parameters={"note": text}, description=text) for index, text in enumerate(holdable)]
    vibe = Vibe(description=holdable_text, style=holdable_text, constraints=[holdable_text], domain=holdable_text)
    wanted = WorkflowPlan(id="hostile", source_vibe=vibe, root_nodes=nodes)
    paths = [
        "javascript:window.__pwned=1",
        "../../etc/passwd",
        "/etc/passwd",
        'a"><script>.png',
        "http://x.example/a b",
    ]
    files = [picture(path, f'image/png"><script>{index}') for index, path in enumerate(paths)]
    made = written(
        everything + "<i>" * 50, retried=True, run=everything, judgement=judgement_of(everything, passed=False)
    )
    results = [
        done("n0", 0, 1, {"text": everything + "<b>" * (bulk // 3), "files": files, everything: everything}),
        *(failed(f"n{index}", index, 1, text, made) for index, text in enumerate(HOSTILE) if index),
    ]
    result = result_of(wanted, *results, status=ExecutionStatus.FAILED)
    result.add_feedback("n0", learned() | {"optimization_suggestions": HOSTILE})
    for index, text in enumerate(HOSTILE[1:], 1):
        changes = {"suggested_changes": HOSTILE, "evidence": HOSTILE, "error_type": text}
        result.add_feedback(f"n{index}", learned_of_failure(text, text) | changes)
    result.node_results["n1"].error = everything + "x" * bulk
    result.suggest_replan({"node_id": everything, "reason": everything, "suggested_changes": HOSTILE})
    return reported(
        wanted,
        result,
        run_name=everything,
        state=everything,
        output_root=everything,
        run_url="javascript:window.__pwned=1",
        resume_command=f"vibe-prefect resume '{everything}'",
    )


def large_report(count: int = 500, text: str = "") -> RunReport:
    """A run of many nodes in layers of ten, each with its text."""
    nodes = [node(f"n{index}", needs=[f"n{index - 10}"] if index >= 10 else []) for index in range(count)]
    wanted = plan(*nodes, id="large")
    results = [done(f"n{index}", index // 10, 0.9, f"{index} {text}") for index in range(count)]
    result = result_of(wanted, *results, total_duration=count / 10, completed_at=at(count / 10))
    for index in range(count):
        result.add_feedback(f"n{index}", learned())
    return reported(wanted, result)
