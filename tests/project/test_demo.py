"""The demo plan makes what it says, of the changelog as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.command import Outcome, call
from tests.llm.models import registry
from tests.paths import ROOT
from tests.providers.openai_server import KEY, openai_server
from vibe_prefect import ExecutionStatus, WorkflowExecutor, compile_plan, load_plan
from vibe_prefect.testing import run_offline

PLAN = ROOT / "flows" / "plans" / "release_digest.yaml"


def test_the_demo_has_hierarchy_parallel_branches_and_a_dependency_across_them() -> None:
    compiled = compile_plan(load_plan(PLAN).plan)
    assert len(compiled.nodes) >= 12
    assert max(len(group) for group in compiled.groups) >= 3
    parents = {id: place.parent for id, place in compiled.graph.nodes.items()}
    assert "blog_check" in compiled.nodes["thread"].dependencies
    assert parents["thread"] != parents["blog_check"]


@pytest.mark.server
async def test_the_demo_makes_its_files(prefect_server: str, folder: Path) -> None:
    executor = WorkflowExecutor(simulate="never", input_root=ROOT, output=folder / "made")
    result = await executor.execute_plan(load_plan(PLAN).plan)
    assert result.status is ExecutionStatus.COMPLETED
    assert executor.last_run is not None
    made = executor.last_run.output_root
    assert made.parent == folder / "made" / "release-digest"
    files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    assert files == ["blog.md", "images/square.png", "images/title.png", "index.html", "newsletter.txt", "social.txt"]

    version = (ROOT / "CHANGELOG.md").read_text().split("\n## [")[1].split("]")[0].replace("Unreleased", "next release")
    blog = (made / "blog.md").read_text()
    assert blog.startswith(f"# New in vibe_prefect: {version}\n")
    assert 100 <= len(blog.split()) <= 400
    page = (made / "index.html").read_text()
    assert f"<h1>New in vibe_prefect: {version}</h1>" in page
    bullets = [line.removeprefix("- ") for line in blog.splitlines() if line.startswith("- ")]
    assert 3 <= len(bullets) <= 8
    assert page.count("<li>") >= len(bullets)
    assert (made / "newsletter.txt").read_text().startswith("Subject: ")
    assert "5/5" in (made / "social.txt").read_text()
    with Image.open(made / "images" / "title.png") as title, Image.open(made / "images" / "square.png") as square:
        assert (title.size, square.size) == ((1200, 630), (1080, 1080))


def written(body: dict[str, Any]) -> str:
    """What a model would write for the demo's nodes."""
    prompt = body["messages"][-1]["content"]
    if "response_format" in body:
        listed = prompt.split("by these criteria.\n")[1].splitlines()
        names = [line.split(". ", 1)[1].split(": ")[0] for line in listed]
        quote = max(prompt.split("[end ")[0].splitlines()[1:], key=len)
        scores = [{"name": name, "score": 0.9, "reason": "it does", "quotes": [quote]} for name in names]
        return json.dumps({"criteria": scores})
    if "Write a blog post" in prompt:
        head = prompt.split("exactly:\n")[1].split("\n")[0].strip()
        line = "- Prefect runs a plan for you, and each node of the plan is kept when it is done.\n"
        return f"{head}\n\nWritten by the model.\n\n{line * 12}"
    if "Write a letter" in prompt:
        return "Subject: What is new in vibe_prefect\n\nHello,\n\nwritten by the model."
    return "vibe_prefect is out, says the model."


def by_command(folder: Path, api: str, **variables: str) -> Outcome:
    folder.mkdir()
    roots = ["--input-root", str(ROOT), "--output", str(folder / "made")]
    outcome = call("run", str(PLAN), *roots, cwd=folder, extra={"PREFECT_API_URL": api, **variables})
    assert outcome.code == 0, outcome.err + outcome.out
    return outcome


@pytest.mark.server
def test_the_command_has_a_model_write_the_texts_where_one_is_named(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with openai_server(reply=written) as server:
        key = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": KEY}
        without = by_command(folder / "a", prefect_server, **key)
        assert "no model is named in VIBE_PREFECT_MODEL" in without.out
        assert "; 3 gates: 1.00, 1.00, 1.00; 3 from a template, without a model; 2 not judged\n" in without.out
        assert server.calls == []
        (blog,) = (folder / "a" / "made").rglob("blog.md")
        assert "Written by the model." not in blog.read_text()
        with_model = by_command(folder / "b", prefect_server, **key, VIBE_PREFECT_MODEL="openai:ok")
        assert "no model is named" not in with_model.out
        assert "; 5 gates: 0.90, 0.90, 1.00, 1.00, 1.00; " in with_model.out
        assert len(server.calls) == 5
    made = {path.name: path.read_text() for path in (folder / "b" / "made").rglob("*.*") if path.suffix != ".png"}
    assert "Written by the model." in made["blog.md"]
    assert "written by the model." in made["newsletter.txt"]
    assert "says the model" in made["social.txt"]
    judging = [call for call in server.calls if "response_format" in call.body]
    changelog = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert [changelog.strip() in call.prompt for call in judging].count(True) == 1
    assert ["has no buzzwords and no exaggeration" in call.prompt for call in judging] == [True, True]


@pytest.mark.server
async def test_with_a_model_the_texts_are_written_and_judged_by_it(prefect_server: str, folder: Path) -> None:
    with openai_server(reply=written) as server:
        tools = registry(server)
        executor = WorkflowExecutor(tool_registry=tools, simulate="never", input_root=ROOT, output=folder / "made")
        result = await executor.execute_plan(load_plan(PLAN).plan)
    assert result.status is ExecutionStatus.COMPLETED, {id: one.error for id, one in result.node_results.items()}
    assert executor.last_run is not None
    made = executor.last_run.output_root
    assert "Written by the model." in (made / "blog.md").read_text()
    assert "says the model" in (made / "social.txt").read_text()
    assert len(server.calls) == 5
    assert result.feedback_data["blog_review"]["execution_quality"] == 0.9


@pytest.mark.parametrize("entries", [1, 400])
async def test_the_demo_stays_short_however_long_the_changelog_is(folder: Path, entries: int) -> None:
    lines = "\n".join(
        f"- Entry {number} of a plan in Prefect. Its reason is told at length.\n" for number in range(entries)
    )
    (folder / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## [2.0.0] - 2027-01-01\n\nAll is new.\n\n### Added\n\n{lines}"
    )
    result = await run_offline(load_plan(PLAN).plan)
    assert result.status is ExecutionStatus.COMPLETED, {id: node.error for id, node in result.node_results.items()}
    (blog,) = folder.rglob("blog.md")
    text = blog.read_text()
    assert text.startswith("# New in vibe_prefect: 2.0.0\n")
    assert "- Entry 0 of a plan in Prefect.\n" in text
    assert len(text.split()) < 250
    counted = "1 entry" if entries == 1 else f"{entries} entries"
    assert f"The changelog has it all: {counted} under added." in text
