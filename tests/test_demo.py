"""The demo plan makes what it says, of the changelog as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vibe_prefect import ExecutionStatus, WorkflowExecutor, compile_plan, load_plan

ROOT = Path(__file__).parent.parent
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

    version = (ROOT / "CHANGELOG.md").read_text().split("\n## [")[1].split("]")[0]
    blog = (made / "blog.md").read_text()
    assert blog.startswith(f"# vibe_prefect {version} is out\n")
    assert blog in (made / "index.html").read_text().replace("&#34;", '"').replace("&#39;", "'").replace("&lt;", "<")
    assert (made / "newsletter.txt").read_text().startswith("Subject: ")
    assert "5/5" in (made / "social.txt").read_text()
    with Image.open(made / "images" / "title.png") as title, Image.open(made / "images" / "square.png") as square:
        assert (title.size, square.size) == ((1200, 630), (1080, 1080))
