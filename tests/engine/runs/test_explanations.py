"""Which model and prompt, why accepted, why refused: for runs with every kind of end, one question a row."""

from __future__ import annotations

import asyncio
import html
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.sorting import ArtifactSort

from tests.cli.command import Outcome, call
from tests.plans import node, plan
from vibe_prefect import ToolContext, ToolRegistry, ToolResult, WorkflowExecutor, WorkflowPlan
from vibe_prefect.errors import ToolError, UsageError
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.operations import explain, report
from vibe_prefect.reporting.explanations.explain import Decision, NodeExplanation
from vibe_prefect.reporting.html import render_html
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.testing import RecordingTool, ScriptedModel, verdict

pytestmark = pytest.mark.server

TEXT = "Water boils when it is hot."
ACCEPTED, REFUSED, FAILED = Decision.ACCEPTED, Decision.REFUSED, Decision.FAILED
SKIPPED, UNDECIDED = Decision.SKIPPED, Decision.UNDECIDED
KEY = "sk-live-0123456789abcdef"


class Hanging(RecordingTool):
    """A tool that never ends."""

    def __init__(self) -> None:
        super().__init__("hang")
        self.begun = asyncio.Event()

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


def gated(**policy: Any) -> WorkflowPlan:
    """A text, its gate, and what waits for the gate."""
    about = {"prompt": "Write about {{ vibe.description }}", "temperature": 0.2}
    criteria = [{"name": "clear", "description": "Everybody gets it."}, {"name": "true"}]
    return plan(
        node("post", parameters={"tool": "llm_generate", "tool_inputs": about, "audience": "all"}, policy=policy),
        node("gate", "validate", needs=["post"], parameters={"tool": "judge", "tool_inputs": {"criteria": criteria}}),
        node("publish", "transform", needs=["gate"], parameters={"tool": "publish", "tool_inputs": {"api_key": KEY}}),
    )


def judged(score: float) -> str:
    return verdict({"clear": score, "true": 1.0}, "Water boils")


def _in_crash(question: Question) -> str | Exception:
    if "do again" in question.prompt:
        return ToolError("500 from the provider")
    return judged(0.1) if question.schema else TEXT


@dataclass
class Runs:
    """The runs of the table, by name of their kind."""

    records: Path
    names: dict[str, str]

    async def run(self, kind: str, subject: WorkflowPlan, tools: ToolRegistry, **options: Any) -> None:
        """Run a plan; one that is stopped counts, too."""
        tools.register(RecordingTool("publish", {"url": "x"}))
        runner = WorkflowExecutor(tool_registry=tools, storage=self.records, simulate="never")
        with suppress(asyncio.CancelledError):
            await runner.execute_plan(subject, **options)
        assert runner.last_run is not None
        self.names[kind] = runner.last_run.name

    async def crash(self) -> None:
        """Stop a run with a text that was accepted, one that was refused, one that is tried again, and one at work."""
        hanging = Hanging()
        tools = ScriptedModel(_in_crash).registry
        tools.register(hanging)
        again = node("again", policy={"retries": 1, "retry_delay": 600}, needs=["post"])
        late = node("late", parameters={"tool": "hang"})
        running = asyncio.create_task(self.run("crashed", plan(*gated().root_nodes, again, late), tools))
        await hanging.begun.wait()
        while len(list(self.records.glob("*/failure-*.json"))) < 2:
            await asyncio.sleep(0.05)
            assert not running.done()
        running.cancel()
        await running


@pytest.fixture(scope="module")
def runs(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs that completed, were refused, were tried again, crashed, and were resumed."""
    made = Runs(tmp_path_factory.mktemp("explained") / "records", {})

    async def run_all() -> None:
        await made.crash()
        await made.run("completed", gated(), ScriptedModel([TEXT, judged(0.8)]).registry)
        await made.run("refused", gated(), ScriptedModel([TEXT, judged(0.2)]).registry)
        await made.run("resumed", gated(), ScriptedModel([judged(0.9)]).registry, resume_from=made.names["refused"])
        again = ScriptedModel([ToolError("500 from the provider"), TEXT, judged(0.9)])
        await made.run("retried", gated(retries=1, retry_delay=0), again.registry)

    asyncio.run(run_all())
    return made


PROMPT = "Task: Write about a test"
QUESTIONS = [
    # run, node, decision, words of the reason, model and prompt, the run that executed it
    (
        "completed",
        "post",
        ACCEPTED,
        "the gate 'gate' gave it 0.90 (0.70 needed; lowest: clear 0.80)",
        PROMPT,
        "completed",
    ),
    ("completed", "gate", ACCEPTED, "it gave 0.90 (0.70 needed; lowest: clear 0.80)", TEXT, "completed"),
    ("completed", "publish", ACCEPTED, "no gate judges it", None, "completed"),
    ("refused", "post", REFUSED, "the gate 'gate' gave it 0.60", PROMPT, "refused"),
    ("refused", "gate", REFUSED, "it gave 0.60 (0.70 needed; lowest: clear 0.20)", TEXT, "refused"),
    ("refused", "publish", SKIPPED, "'gate' refused: it gave 0.60 (0.70 needed", None, None),
    ("resumed", "post", ACCEPTED, "the gate 'gate' gave it 0.95", PROMPT, "refused"),
    ("resumed", "gate", ACCEPTED, "it gave 0.95 (0.70 needed", TEXT, "resumed"),
    ("retried", "post", ACCEPTED, "the gate 'gate' gave it 0.95", PROMPT, "retried"),
    ("crashed", "post", REFUSED, "the gate 'gate' gave it 0.55", PROMPT, "crashed"),
    ("crashed", "gate", REFUSED, "it gave 0.55 (0.70 needed; lowest: clear 0.10)", TEXT, "crashed"),
    ("crashed", "again", None, "500 from the provider", "do again", "crashed"),
    ("crashed", "late", None, "", None, None),
]


@pytest.mark.parametrize(("kind", "id", "decision", "why", "prompt", "by"), QUESTIONS)
async def test_a_node_is_explained_after_every_kind_of_end(
    runs: Runs, kind: str, id: str, decision: Decision | None, why: str, prompt: str | None, by: str | None
) -> None:
    told = await explain(runs.names[kind], id, storage=runs.records)
    assert decision in (None, told.decision), told
    assert why in told.why
    assert (told.executed_by.run_name if told.executed_by else None) == (runs.names[by] if by else None)
    assert [call.model for call in told.model_calls] == (["scripted:model"] if prompt else [])
    assert prompt is None or prompt in str(told.model_calls[0].prompt)


async def explanation(runs: Runs, kind: str, id: str) -> NodeExplanation:
    return await explain(runs.names[kind], id, storage=runs.records)


async def test_evidence_of_a_gate_is_told_whether_it_passed_or_not(runs: Runs) -> None:
    for kind, score, passed in [("completed", 0.8, True), ("refused", 0.2, False), ("crashed", 0.1, False)]:
        judgement = (await explanation(runs, kind, "gate")).judgement
        assert judgement is not None
        assert (judgement.passed, judgement.threshold) == (passed, 0.7)
        told = [(one.name, one.score, one.reason, one.quotes) for one in judgement.criteria]
        quoted = ("as scripted", ("Water boils",))
        assert told == [("clear", score, *quoted), ("true", 1.0, *quoted)]
        assert (await explanation(runs, kind, "post")).gates[0].judgement == judgement


async def test_attempts_are_told_with_their_errors(runs: Runs) -> None:
    retried = (await explanation(runs, "retried", "post")).attempts
    assert [one.error for one in retried] == ["500 from the provider", None]
    waiting = await explanation(runs, "crashed", "again")
    assert [one.error for one in waiting.attempts] == ["500 from the provider"]
    assert waiting.error_type in ("RuntimeError", None)


async def test_inputs_are_told_after_templates_and_parameters_as_planned_without_secrets(runs: Runs) -> None:
    post = await explanation(runs, "completed", "post")
    assert post.tool_calls[0].inputs == {"prompt": "Write about a test", "temperature": 0.2}
    assert post.parameters["audience"] == "all"
    assert post.model_calls[0].parameters == {"max_tokens": 4096, "temperature": 0.2}
    publish = await explanation(runs, "completed", "publish")
    assert publish.tool_calls[0].inputs == {"api_key": "***"}
    assert KEY not in str(publish)


async def test_an_unknown_node_is_named_with_those_there_are(runs: Runs) -> None:
    with pytest.raises(UsageError, match=r"has no node 'gat'.*did you mean 'gate'"):
        await explanation(runs, "completed", "gat")


def command(runs: Runs, prefect_server: str, *arguments: str) -> Outcome:
    extra = {"PREFECT_API_URL": prefect_server, "PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE": str(runs.records)}
    return call("output", *arguments, "--explain", cwd=runs.records.parent, extra=extra)


def test_the_command_line_explains_a_node_in_words(runs: Runs, prefect_server: str) -> None:
    told = command(runs, prefect_server, runs.names["resumed"], "gate")
    assert told.code == 0, told.err
    text = "\n".join(" ".join(row.split()) for row in told.lines)
    for words in (
        f"run {runs.names['resumed']} (",
        "why accepted: it gave 0.95 (0.70 needed; lowest: clear 0.90)",
        "0.90 clear: as scripted",
        '"Water boils"',
        "model scripted:model, max_tokens 4096",
        "tool judge, version",
        "attempt 1 2",
    ):
        assert words in text
    assert "2. true" in text, "the prompt is there, with the rubric at its end"


def test_the_command_line_explains_all_nodes_as_json(runs: Runs, prefect_server: str) -> None:
    told = command(runs, prefect_server, runs.names["refused"], "--json")
    assert told.code == 0, told.err
    nodes = told.json["nodes"]
    assert {id: one["decision"] for id, one in nodes.items()} == {
        "post": "refused",
        "gate": "refused",
        "publish": "skipped",
    }
    assert nodes["post"]["tool_calls"][0]["model_calls"][0]["prompt"].endswith(PROMPT)
    assert nodes["publish"]["status"] == ExecutionStatus.SKIPPED
    assert KEY not in told.out


SEVEN_QUESTIONS: dict[str, dict[str, str]] = {
    # kind of run: question, words of the answer
    "completed": {
        "worked?": "Completed",
        "made what?": TEXT,
        "cost?": "tokens",
        "which model and prompt?": PROMPT,
        "why accepted?": "the gate 'gate' gave it 0.90",
    },
    "refused": {
        "worked?": "Failed",
        "made what?": TEXT,
        "cost?": "tokens",
        "which model and prompt?": PROMPT,
        "why refused?": "was refused by 'gate'",
        "what now?": "--refresh post+",
    },
    "retried": {
        "worked?": "Completed",
        "made what?": TEXT,
        "cost?": "tokens",
        "which model and prompt?": PROMPT,
        "why accepted?": "the gate 'gate' gave it 0.95",
    },
    "resumed": {
        "worked?": "Completed",
        "made what?": TEXT,
        "cost?": "tokens",
        "which model and prompt?": PROMPT,
        "why accepted?": "the gate 'gate' gave it 0.95",
    },
    "crashed": {
        "worked?": "Crashed",
        "made what?": TEXT,
        "which model and prompt?": PROMPT,
        "why refused?": "0.55",
        "what now?": "vibe-prefect resume",
    },
}


@pytest.mark.parametrize("kind", SEVEN_QUESTIONS)
async def test_the_first_artifact_and_the_page_answer_the_seven_questions(runs: Runs, kind: str) -> None:
    run = await report(runs.names[kind], storage=runs.records)
    faces = {"page": re.sub(r"<[^>]+>|\s+", " ", html.unescape(render_html(run, {})))}
    if kind != "crashed":  # whoever stops a run keeps it from writing more than its progress
        faces["artifact"] = plain_markdown(await first_artifact(run.run_id))
    for face, text in faces.items():
        for question, words in SEVEN_QUESTIONS[kind].items():
            assert words in text, f"{question} in the {face} of the {kind} run"


@pytest.mark.parametrize(
    "kind",
    [
        "refused",
        "crashed",
        *(pytest.param(kind, marks=pytest.mark.storm) for kind in ("completed", "retried", "resumed")),
    ],
)
def test_one_command_answers_each_of_the_seven_questions(runs: Runs, prefect_server: str, kind: str) -> None:
    extra = {"PREFECT_API_URL": prefect_server, "PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE": str(runs.records)}
    ways = {"made what?": ["output", runs.names[kind], "post"]}
    ways |= {question: ["watch", runs.names[kind]] for question in ("worked?", "cost?", "what now?")}
    explained = ["output", runs.names[kind], "post", "--explain"]
    ways |= {"which model and prompt?": explained, "why accepted?": explained}
    ways["why refused?"] = ["output", runs.names[kind], "gate", "--explain"]
    said: dict[str, str] = {}
    for way in {tuple(ways[question]) for question in SEVEN_QUESTIONS[kind]}:
        outcome = call(*way, cwd=runs.records.parent, extra=extra)
        said[" ".join(way)] = " ".join((outcome.out + outcome.err).split())
    for question, words in SEVEN_QUESTIONS[kind].items():
        wanted = {"was refused by 'gate'": "refused: it gave 0.60"}.get(words, words)
        wanted = wanted.removeprefix("the gate 'gate' gave it ") if question == "why accepted?" else wanted
        assert wanted.lower() in said[" ".join(ways[question])].lower(), f"{question} of the {kind} run"


async def first_artifact(run_id: str) -> str:
    """The artifact that Prefect's UI shows first."""
    async with get_client() as client:
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)])),
            sort=ArtifactSort.ID_DESC,
        )
    return str(artifacts[0].data)


def plain_markdown(text: str) -> str:
    return " ".join(html.unescape(text.replace("\\", "")).split())
