"""A wish in a form becomes a plan, which a person may approve, and the plan runs.

The plan is an artifact of the run. A run that was suspended or is tried again goes on with that plan, and never pays
for another; with `keep_plan`, so does every later run with the same wish. Notes in the folder `knowledge` of the
worker are given to the model where the wish needs them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact as ArtifactRecord
from prefect.client.schemas.objects import State
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field

from vibe_prefect import Vibe, WorkflowPlan, WorkflowVisualizer, earlier_try, load_plan, run_plan
from vibe_prefect.operations import PlanningOptions, plan_vibe

KNOWLEDGE = "knowledge"
PAID = "paid_usd"
"""What planning has cost the run, in the artifact's metadata."""

APPROVAL_SECONDS = 7 * 24 * 60 * 60


class PlanApproval(RunInput):
    """The answer about a plan."""

    decision: Literal["approve", "reject"] = Field(title="Decision about the plan")
    comment: str = Field("", title="Comment", description="Why; optional.")
    by: str = Field("", title="Your name")


def titled(title: str, *examples: str) -> Any:
    """Return a field of the form with a title and examples."""
    return Field(json_schema_extra={"title": title, "examples": list(examples)})


@flow(name="generate-from-vibe")
async def generate_from_vibe(  # noqa: PLR0913 - the form's fields
    description: Annotated[str, titled("What is to be made", "A launch week for our tea shop")],
    style: Annotated[str, titled("Style", "warm, plain")] = "",
    constraints: Annotated[list[str] | None, titled("What must hold", "no medical claims")] = None,
    domain: Annotated[str, titled("Domain", "retail")] = "",
    sources: Annotated[list[str] | None, titled("Files that the plan may read", "CHANGELOG.md")] = None,
    approve: Annotated[bool, titled("Ask before the plan is run")] = False,
    keep_plan: Annotated[bool, titled("Use the plan of an earlier run with the same wish")] = False,
    budget_usd: Annotated[float | None, titled("Budget in US dollars")] = None,
) -> Any:
    """Plan a wish with the configured language model, show the plan as an artifact, and run it.

    Args:
        description: The wish, in your own words.
        style: Style of the result.
        constraints: What must hold.
        domain: The field it belongs to.
        sources: Files below the worker's folder that the plan may read; none by default.
        approve: Suspend the run with the plan as an artifact until somebody approves it.
        keep_plan: Plan once, and let every run with the same wish run that plan; otherwise each run makes its own.
        budget_usd: What planning and running may cost together; without it there is no limit.
    """
    vibe = Vibe(description=description, style=style or None, constraints=constraints or [], domain=domain or None)
    plan, spent_usd = await planned(vibe, tuple(sources or ()), keep_plan=keep_plan, budget_usd=budget_usd)
    if approve and (refusal := await refused(plan)) is not None:
        return refusal
    rest = None if budget_usd is None else budget_usd - spent_usd
    run = cast("Any", run_plan)
    return await run(plan, resume_from=await earlier_try(), budget_usd=rest, return_state=True)


async def planned(
    vibe: Vibe, sources: tuple[str, ...], *, keep_plan: bool, budget_usd: float | None
) -> tuple[WorkflowPlan, float]:
    """Return the plan of a wish and what this run has paid for it, in US dollars.

    It is the plan that this run has made already, else where wanted that of an earlier run, else a new one.
    """
    wish = hashlib.sha256(f"{vibe.model_dump_json()} {sources}".encode()).hexdigest()[:12]
    key = f"vibe-plan-{wish}"
    own = await own_plan(key)
    earlier = own or (await Artifact.aget(key) if keep_plan else None)
    if earlier is not None:
        get_run_logger().info("The plan is that of the artifact %s", key)
        paid = (own.metadata_ or {}).get(PAID, "0") if own is not None else "0"
        return read(str(earlier.data)), float(paid)
    knowledge = (KNOWLEDGE,) if await asyncio.to_thread(Path(KNOWLEDGE).is_dir) else ()
    made = await plan_vibe(vibe, PlanningOptions(knowledge, sources, budget_usd=budget_usd))
    get_run_logger().info("Planned by %s in %d answers, %s", made.model, made.answers, made.spent)
    paid_usd = made.spent.usd or 0.0
    artifact = ArtifactCreate(
        key=key,
        type="markdown",
        data=written(WorkflowVisualizer.generate_diagram(made.draft.plan), made.text()),
        description=f"Plan, by {made.model}",
        metadata_={PAID: str(paid_usd)},
        flow_run_id=UUID(flow_run.id),
    )
    async with get_client() as client:
        await client.create_artifact(artifact)
    return made.draft.plan, paid_usd


async def own_plan(key: str) -> ArtifactRecord | None:
    """Return the plan of an earlier try of this run, or of the time before it was suspended."""
    own = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=own, limit=1)
    return found[0] if found else None


def written(diagram: str, text: str) -> str:
    """Return a plan as Markdown. Its fences are longer than any within, so that no text of the plan can end one."""
    fence = "~" * max(8, *(len(run) + 1 for run in re.findall("~+", f"~{diagram}{text}")))
    return f"{fence}text\n{diagram.rstrip()}\n{fence}\n\n{fence}yaml\n{text}{fence}"


def read(shown: str) -> WorkflowPlan:
    """Return the plan that stands in an artifact."""
    before, _, fence = shown.rstrip().rpartition("\n")
    text = before.partition(f"\n{fence}yaml\n")[2] + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_text(text, encoding="utf-8")
        return load_plan(path).plan


async def refused(plan: WorkflowPlan) -> State[Any] | None:
    """Suspend the run until somebody has answered about its plan; return its end where the answer is no."""
    form = PlanApproval.with_initial_data(
        description=f"May the plan {plan.id!r} be run? It is an artifact of this run."
    )
    answer = await asuspend_flow_run(wait_for_input=form, timeout=APPROVAL_SECONDS, key="plan")
    assert answer is not None
    by = answer.by.strip() or "somebody in Prefect's UI"
    if answer.decision == "approve":
        get_run_logger().info("The plan was approved by %s. %s", by, answer.comment)
        return None
    return Failed(name="Rejected", message=f"the plan was rejected by {by}. {answer.comment}".strip())
