"""`replan` and `run --adapt` as users call them, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import node, on, write_plan
from tests.replanning.runs import SLUGGISH_FILE

pytestmark = pytest.mark.server

TOOLS = f"""{SLUGGISH_FILE}

@tool(version="1")
async def hang() -> dict[str, str]:
    '''Hang each time.'''
    await asyncio.Event().wait()
    return {{}}
"""


@pytest.fixture
def slow_plan(folder: Path) -> str:
    """A plan whose first node runs out of time, the first time."""
    (folder / "tools.py").write_text(TOOLS)
    slow = node("slow", parameters={"tool": "sluggish"}, policy={"timeout": 1})
    fixed = {"tool": "template_fill", "tool_inputs": {"template": "x"}}
    late = node("late", "transform", dependencies=["slow"], parameters=fixed)
    return write_plan(folder, [slow, late, node("aside", parameters=fixed)], "tardy")


def test_replan_shows_edits_and_forecast_and_the_command_that_resumes(
    slow_plan: str, folder: Path, prefect_server: str
) -> None:
    tools = ("--tools", "tools.py")
    assert on(prefect_server, "run", slow_plan, *tools, "-q", cwd=folder).code == 1
    document = on(prefect_server, "replan", *tools, "--json", cwd=folder).json
    assert [(edit["node_id"], edit["field"], edit["value"]) for edit in document["edits"]] == [
        ("slow", "policy.timeout", 2.0)
    ]
    assert {id: one["action"] for id, one in document["forecast"]["nodes"].items()} == {
        "slow": "run",
        "late": "run",
        "aside": "reuse",
    }
    unwritten = on(prefect_server, "replan", *tools, "--max-tokens", "9000", cwd=folder)
    writes = unwritten.lines[-2].strip()
    name = document["run"]["run_name"]
    assert writes == f"vibe-prefect replan {name} --max-tokens 9000 --tools tools.py -o better.yaml"
    shown = on(prefect_server, *writes.split()[1:], cwd=folder)
    assert shown.code == 0
    assert "edit  slow  slow ran out of time, so its timeout goes from 1 s to 2 s" in shown.lines
    command = shown.lines[-1].strip()
    assert command == f"vibe-prefect resume {name} --plan better.yaml --tools tools.py"
    assert "# slow ran out of time" in (folder / "better.yaml").read_text()
    again = on(prefect_server, *writes.split()[1:], cwd=folder)
    assert (again.code, "better.yaml is there already; --force writes over it" in again.err) == (2, True)
    resumed = on(prefect_server, *command.split()[1:], "--json", cwd=folder)
    assert resumed.code == 0
    assert {id: one["reused"] for id, one in resumed.json["nodes"].items()} == {
        "slow": False,
        "late": False,
        "aside": True,
    }


def test_run_adapts_and_shows_its_attempts(slow_plan: str, folder: Path, prefect_server: str) -> None:
    ran = on(prefect_server, "run", slow_plan, "--tools", "tools.py", "--adapt", "2", "--report", "a.html", cwd=folder)
    assert ran.code == 0
    assert "attempt 2 of at most 3; quality of the last one 0.33" in ran.lines
    assert "attempt 1  quality 0.33, 2 executed, 0 reused, 1 failed; replanned" in ran.lines
    assert "attempt 2  quality 1.00, 2 executed, 1 reused; nothing is left to improve" in ran.lines
    assert '<h2 id="attempts-head">Attempts</h2>' in (folder / "a.html").read_text()


def test_an_adapted_run_that_fails_offers_its_edited_plan_and_not_the_file(folder: Path, prefect_server: str) -> None:
    (folder / "tools.py").write_text(TOOLS)
    plan = write_plan(folder, [node("slow", parameters={"tool": "hang"}, policy={"timeout": 0.2})], "hangs")
    ran = on(prefect_server, "run", plan, "--tools", "tools.py", "--adapt", "1", "--report", "a.html", cwd=folder)
    assert ran.code == 1
    assert any(line.startswith("attempt 2 of at most 2; ") for line in ran.lines)
    for text in (ran.out, (folder / "a.html").read_text()):
        assert "has changed since the run began" not in text
        assert "to go on with what is left" in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-o", "nowhere/better.yaml"), "nowhere is not a folder; make it first"),
        (("--by", "guess"), "guess"),
    ],
)
def test_replan_refuses_what_it_cannot_do(
    arguments: tuple[str, ...], problem: str, folder: Path, prefect_server: str
) -> None:
    refused = on(prefect_server, "replan", *arguments, cwd=folder)
    assert refused.code == 2
    assert problem in refused.err
