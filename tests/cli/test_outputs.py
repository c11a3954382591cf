from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from tests.cli.command import Outcome, output_schema
from tests.reporting.reports import hostile_report, release_report
from vibe_prefect import PlanError
from vibe_prefect.cli.app import call
from vibe_prefect.cli.display.answer_documents import AcceptanceDocument, AnswerDocument
from vibe_prefect.cli.display.documents import DOCUMENTS, outputs_schema, print_document
from vibe_prefect.core.acceptance import Acceptance
from vibe_prefect.core.approval import Question, ShownItem
from vibe_prefect.operations import AcceptedNode, AnsweredNode
from vibe_prefect.reporting.report import RunReport

GOOD = """\
id: good
source_vibe: {description: d}
root_nodes: [{id: a, type: generate, description: d}]
"""
EDITED = GOOD.replace("description: d}]", "description: e}]")
BAD = GOOD.replace("type: generate", "type: generat")


@pytest.fixture
def plans(folder: Path) -> Path:
    for name, text in (("good", GOOD), ("edited", EDITED), ("bad", BAD)):
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_schema_of_outputs_is_printed_and_names_every_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["schema", "--output"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == outputs_schema()
    kinds = [printed["$defs"][model.__name__]["properties"]["kind"]["const"] for model in DOCUMENTS]
    answers = ["approvals", "answer", "acceptance", "edit"]
    assert kinds == ["run", "explanation", "runs", "prune", "diff", "dry-run", "replan", "plan", "problems", *answers]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["validate", "good.yaml", "--simulate", "--json"], "problems"),
        (["diff", "good.yaml", "edited.yaml", "--json"], "diff"),
        (["run", "good.yaml", "--simulate", "--dry-run", "--json"], "dry-run"),
    ],
)
def test_documents_fit_the_schema(
    plans: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], kind: str
) -> None:
    code = call(arguments)
    printed = capsys.readouterr()
    outcome = Outcome(code, printed.out, printed.err)
    assert (outcome.code, outcome.json["kind"], outcome.json["schema_version"]) == (0, kind, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "bad.yaml"],
        ["run", "bad.yaml", "--dry-run"],
        ["diff", "good.yaml", "bad.yaml"],
    ],
)
def test_command_that_did_nothing_prints_no_document(
    plans: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(PlanError):
        call([*arguments, "--json"])
    assert capsys.readouterr().out == ""


def test_problems_of_a_plan_are_data_with_their_frames(plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PlanError):
        call(["validate", "bad.yaml", "--json"])
    document = Outcome(2, capsys.readouterr().out, "").json
    problem = next(problem for problem in document["problems"] if problem["field"] == "type")
    assert (document["kind"], document["plan"]) == ("problems", "bad.yaml")
    assert problem == {
        "message": "expected one of analyze, generate, transform, validate, composite, found 'generat'; "
        "did you mean 'generate'?",
        "hint": "did you mean 'generate'?",
        "node_id": "a",
        "field": "type",
        "file": "bad.yaml",
        "line": 3,
        "column": 28,
        "frame": {"text": "root_nodes: [{id: a, type: generat, description: d}]", "caret": 27},
    }


@pytest.mark.parametrize("report", [release_report(), hostile_report()], ids=["fair", "hostile"])
def test_the_kept_report_fits_the_schema(report: RunReport) -> None:
    data = json.loads(json.dumps(report.to_dict()))
    assert data["kind"] == "report"
    output_schema().validate(data)


def test_documents_of_other_shapes_do_not_fit() -> None:
    with pytest.raises(jsonschema.ValidationError):
        output_schema().validate({"schema_version": 1, "kind": "problems", "plan": None, "problems": [], "more": 1})


def test_a_run_is_called_the_same_in_every_document() -> None:
    definitions = outputs_schema()["$defs"]
    for name in ("RunDocument", "ListedRun", "RunReference", "RunReport", "OpenQuestion", "AnswerDocument"):
        assert {"run_id", "run_name"} <= definitions[name]["properties"].keys()


def test_answers_print_documents_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    question = Question("gate", "key", "May it go out?", {"post": ShownItem("5a", "Tea")}, run_id="id", run_name="calm")
    answers = question.answered(approved=True, by="Ann Lee", because="fine")
    whole = AnsweredNode("calm", question.with_answers(answers), answers, goes_on=False)
    print_document(AnswerDocument.of(whole))
    said = json.loads(capsys.readouterr().out)
    output_schema().validate(said)
    assert (said["answers"]["post"]["approved"], said["open_items"]) == (True, [])
    assert said["resume_command"] == "vibe-prefect resume calm"
    assert AnswerDocument.of(replace(whole, goes_on=True)).resume_command is None
    accepted = AcceptedNode("calm", "gate", "too short", Acceptance("Ann Lee", "short is fine", "now", "calm"))
    print_document(AcceptanceDocument.of(accepted))
    said = json.loads(capsys.readouterr().out)
    output_schema().validate(said)
    assert (said["acceptance"]["because"], said["resume_command"]) == ("short is fine", "vibe-prefect resume calm")
