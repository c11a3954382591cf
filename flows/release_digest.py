"""The demo as a flow of its own: what people may choose are its parameters, the plan stays in its file."""

from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow
from pydantic import Field

from vibe_prefect import earlier_try, load_plan, run_plan

PLAN = Path(__file__).parent / "plans" / "release_digest.yaml"
Changelog = Annotated[
    str, Field(json_schema_extra={"title": "Changelog", "examples": ["CHANGELOG.md", "docs/news.md"]})
]
Simulate = Annotated[bool, Field(json_schema_extra={"title": "Simulate"})]
Output = Annotated[str, Field(json_schema_extra={"title": "Output folder", "examples": ["outputs", "/srv/outputs"]})]


@flow(name="release-digest")
async def release_digest(
    changelog: Changelog = "CHANGELOG.md", simulate: Simulate = False, output: Output = "outputs"
) -> Any:
    """Make a blog post, a newsletter, social posts, a title image and a page of a changelog's newest release.

    Args:
        changelog: The changelog, in the worker's folder.
        simulate: Run every node as a simulation: nothing is called, spent or written.
        output: The folder for what the run makes; each run has a folder of its own below it.
    """
    plan = load_plan(PLAN).plan
    plan.root_nodes[0].parameters["tool_inputs"] = {"path": changelog}
    earlier = await earlier_try()
    return await cast("Any", run_plan)(plan, resume_from=earlier, simulate=simulate, output=output, return_state=True)
