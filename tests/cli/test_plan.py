"""`vibe-prefect plan`, its edits, and `run --vibe`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import call, output_schema
from tests.cli.terminal import Terminal
from tests.planning.answers import TEXT, answer, planner_of, saved_by
from tests.providers.openai_server import KEY, OpenAIServer, openai_server
from vibe_prefect import load_plan
from vibe_prefect.cli.app import call as command
from vibe_prefect.cli.commands.plan import planned_request
from vibe_prefect.cli.commands.run import RunRequest
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.reading.vibes import VibeArguments
from vibe_prefect.errors import UsageError
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.testing import ScriptedModel

GOOD = answer()
SHORTER = GOOD.replace("Write the text.", "Write a short text.").replace('"why": "The text itself.",', "")

Scripted = Callable[..., ScriptedModel]


@pytest.fixture
def scripted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Puts a scripted model behind the commands of this process."""

    def put(*answers: str) -> ScriptedModel:
        model = planner_of(*answers)
        registry = model.registry
        monkeypatch.setattr("vibe_prefect.cli.commands.plan.command_registry", lambda: registry)
        return model

    return put


def test_plan_writes_a_commented_plan_and_shows_what_it_takes(
    scripted: Scripted, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = scripted(saved_by("publish"), GOOD)
    (folder / "docs").mkdir()
    (folder / "docs" / "tea.md").write_text("---\ndomain: retail\n---\nTea heals nobody.\n")
    (folder / "docs" / "cars.md").write_text("---\nwhen: cars\n---\nCars.\n")
    options = ["--style", "warm", "--constraint", "no claims", "--domain", "retail", "--knowledge", "docs"]
    assert command(["plan", "A post on tea", *options, "-o", "plan.yaml"]) == ExitCode.COMPLETED
    printed = capsys.readouterr().out
    text = (folder / "plan.yaml").read_text()
    for words in (
        "answer 1 has 1 problem:",
        "unknown tool 'publish'",
        "draft",
        "transform, write_file",
        "critical path",
    ):
        assert words in printed, words
    assert "1 call of llm_generate, at most" in printed
    assert "knowledge  docs/tea.md" in printed
    assert "wrote plan.yaml (by scripted:model: 2 answers, " in printed
    assert text.startswith("# A post on tea\n#\n# Planned by scripted:model. Knowledge: docs/tea.md.\n")
    assert "  # The text itself.\n  - id: draft\n" in text
    plan = load_plan(folder / "plan.yaml").plan
    assert plan.source_vibe.model_dump() == {
        "description": "A post on tea",
        "style": "warm",
        "constraints": ["no claims"],
        "domain": "retail",
        "metadata": {"knowledge": ["docs/tea.md"]},
    }
    assert "Tea heals nobody." in model.questions[0].prompt
    assert "Cars." not in model.questions[0].prompt

    assert command(["plan", "Another"]) == ExitCode.COMPLETED
    assert command(["plan", "Another"]) == ExitCode.COMPLETED
    assert {path.name for path in folder.glob("*.yaml")} == {"plan.yaml", "post.yaml", "post-2.yaml"}


def test_plan_edits_a_file_and_shows_the_difference(
    scripted: Scripted, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(GOOD, SHORTER, SHORTER)
    assert command(["plan", "A post on tea", "-o", "plan.yaml"]) == ExitCode.COMPLETED
    capsys.readouterr()
    assert command(["plan", "plan.yaml", "--refine", "shorter"]) == ExitCode.COMPLETED
    printed = capsys.readouterr().out
    assert "~ draft\n    description\n" in printed
    assert "a resume would execute 2 of 2 nodes" in printed
    text = (folder / "plan.yaml").read_text()
    assert text.startswith("# A post on tea\n#\n# Planned by scripted:model.\n# Edited by scripted:model: shorter\n")
    assert "  # The text itself.\n  - id: draft\n    type: generate\n    description: Write a short text.\n" in text

    before = (folder / "plan.yaml").read_bytes()
    assert command(["plan", "plan.yaml", "--refine", "as it is"]) == ExitCode.COMPLETED
    assert "no differences" in capsys.readouterr().out
    assert (folder / "plan.yaml").read_bytes() == before


def test_an_edit_that_touches_a_gate_is_named_and_written_only_with_a_yes(
    scripted: Scripted, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_gate(data: dict[str, Any]) -> None:
        check = {"tool": "check_text", "tool_inputs": {"text": "{{ outputs.draft.text }}", "min_words": 3}}
        gate = {"id": "check", "type": "validate", "description": "Check it.", "dependencies": ["draft"]}
        data["root_nodes"].insert(1, {**gate, "parameters": check})
        data["root_nodes"][2]["dependencies"].append("check")

    scripted(answer(with_gate), GOOD)
    assert command(["plan", "A post on tea", "-o", "plan.yaml"]) == ExitCode.COMPLETED
    before = (folder / "plan.yaml").read_bytes()
    with pytest.raises(UsageError) as caught:
        command(["plan", "plan.yaml", "--refine", "without delay"])
    assert str(caught.value) == (
        "plan.yaml was left as it is: the edit may let through what a gate would have refused (gate 'check' removed). "
        "It is kept in plan.draft.yaml; --yes writes such an edit"
    )
    assert "! gate check  removed\n" in capsys.readouterr().out
    assert (folder / "plan.yaml").read_bytes() == before
    assert [node.id for node in load_plan(folder / "plan.draft.yaml").plan.root_nodes] == ["draft", "save"]
    assert command(["plan", "plan.yaml", "--refine", "without delay", "--yes", "--json"]) == ExitCode.COMPLETED
    document = json.loads(capsys.readouterr().out)
    output_schema().validate(document)
    assert (document["plan_file"], document["diff"]["gates"]) == ("plan.yaml", {"check": "removed"})
    assert [node.id for node in load_plan(folder / "plan.yaml").plan.root_nodes] == ["draft", "save"]


def test_plan_keeps_the_draft_that_never_became_valid(
    scripted: Scripted, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = saved_by("publish")
    model = scripted(wrong)
    assert command(["plan", "A post on tea", "-o", "tea.yaml"]) == ExitCode.INTERNAL
    printed = capsys.readouterr()
    assert "wrote no valid plan in 4 answers; the last one has 1 problem" in printed.err
    assert "unknown tool 'publish'" in printed.err
    assert "the last answer is kept in tea.draft.json" in printed.err
    assert (folder / "tea.draft.json").read_text() == wrong
    assert not (folder / "tea.yaml").exists()
    assert len(model.questions) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "x", "-o", "there.yaml"], "there.yaml is there already; --force writes over it"),
        (["plan", "x", "-o", "no/where.yaml"], "no is not a folder; make it first"),
        (["plan", "x", "--source", "gone.md"], "--source 'gone.md': there is no such file in "),
        (["plan", "x", "--source", "../up.md"], "'../up.md' is not a path below the input folder"),
        (["plan", "x", "--knowledge", "gone.md"], "knowledge 'gone.md': there is no such file"),
        (["plan", "x", "--model", "openai:gpt-99"], "'openai:gpt-99' is not one that the operator allows"),
        (["plan", " "], "the vibe is empty"),
        (["plan", "there.yaml", "--refine", "x", "--style", "y"], "an edit keeps the plan's vibe"),
        (["plan", "gone.yaml", "--refine", "x"], "cannot be read: No such file or directory"),
        (["run"], "name a plan file, or say with --vibe what is to be made"),
        (["run", "there.yaml", "--vibe", "x"], "leave the plan file and --resume out"),
        (["run", "--vibe", "x"], "nobody can answer here; --yes runs it unseen"),
    ],
)
def test_plan_refuses_what_it_cannot_do_before_a_model_is_asked(
    scripted: Scripted, folder: Path, arguments: list[str], message: str
) -> None:
    model = scripted(GOOD)
    (folder / "there.yaml").write_text("id: there\nsource_vibe: {description: x}\nroot_nodes: []\n")
    with pytest.raises(UsageError) as caught:
        command(arguments)
    assert message in str(caught.value)
    assert model.questions == []


def test_run_leaves_a_planned_plan_what_planning_has_left_of_the_budget(scripted: Scripted, folder: Path) -> None:
    scripted(GOOD)
    limits = RunOptions().replaced({"max_tokens": 50_000, "budget_usd": 0.05})
    request = RunRequest("", limits, as_json=False, quiet=True)
    planned = planned_request(request, "A post on tea", VibeArguments(), yes=True, only_forecast=False)
    assert planned is not None
    assert planned.plan == "post.yaml"
    options = planned.options
    assert options.max_tokens is not None
    assert options.budget_usd is not None
    assert 30_000 < options.max_tokens < 45_000
    assert options.budget_usd == pytest.approx(options.max_tokens / 1e6)


def test_plan_without_a_model_says_what_to_set(tmp_path: Path) -> None:
    done = call("plan", "A post on tea", cwd=tmp_path)
    assert done.code == ExitCode.USAGE
    assert "none is configured: set VIBE_PREFECT_MODEL or PREFECT_INTEGRATIONS" in done.err
    assert done.out == ""


def reply(body: dict[str, object]) -> str:
    return GOOD if "You plan how content is made" in json.dumps(body) else TEXT


def settings(server: OpenAIServer) -> dict[str, str]:
    return {"VIBE_PREFECT_MODEL": "openai:ok", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.base_url}


@pytest.mark.server
def test_run_plans_a_vibe_and_runs_the_plan(prefect_server: str, tmp_path: Path) -> None:
    with openai_server() as provider:
        provider.reply = reply
        env = {"PREFECT_API_URL": prefect_server, **settings(provider)}
        arguments = ["run", "--vibe", "A post on tea", "--yes", "--max-tokens", "60000", "--json"]
        done = call(*arguments, cwd=tmp_path, extra=env)
        assert done.code == ExitCode.COMPLETED, done.err
        assert done.json["summary"]["completed"] == 2
        assert "wrote post.yaml (by openai:ok: 1 answer, 120 tokens, of unknown price)" in done.err
        assert load_plan(tmp_path / "post.yaml").plan.source_vibe.description == "A post on tea"


def test_run_asks_before_it_runs_a_planned_plan(tmp_path: Path) -> None:
    with openai_server() as provider:
        provider.reply = reply
        with Terminal(tmp_path, settings(provider), "run", "--vibe", "A post on tea") as terminal:
            shown = terminal.until(r"run it\? \[y/N\]")
            assert "transform, write_file" in shown
            assert "critical path" in shown
            terminal.child.sendline("n")
            assert terminal.end() == ExitCode.USAGE
            assert "nothing was run; the plan is in post.yaml" in terminal.text
        assert len(provider.calls) == 1
