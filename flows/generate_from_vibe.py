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
from vibe_prefect.operations import PlanningOptions, forecast, plan_vibe, validate

KNOWLEDGE = "knowledge"
PAID = "paid_usd"
"""What planning has cost the run, in the artifact's metadata."""

APPROVAL_SECONDS = 7 * 24 * 60 * 60


class PlanApproval(RunInput):
    """The answer about a plan."""

    decision: Literal["approve", "reject"] = Field(title="Decision about the plan")
    comment: str = Field("", title="Comment")
    by: str = Field("", title="Your name")


def titled(title: str, **limits: Any) -> Any:
    """Return a field of the form with a title."""
    return Field(json_schema_extra={"title": title}, **limits)


@flow(name="generate-from-vibe")
async def generate_from_vibe(  # noqa: PLR0913 - the form's fields
    description: Annotated[str, titled("What is to be made")],
    approve: Annotated[bool, titled("Ask before the plan is run")] = False,
    style: Annotated[str, titled("Style")] = "",
    domain: Annotated[str, titled("Domain")] = "",
    constraints: Annotated[tuple[str, ...], titled("What must hold")] = (),
    sources: Annotated[tuple[str, ...], titled("Files that the plan may read")] = (),
    keep_plan: Annotated[bool, titled("Run the plan of an earlier run with the same wish")] = False,
    budget_usd: Annotated[float, titled("Budget in US dollars", ge=0)] = 0,
) -> Any:
    """Plan a wish with the configured language model, show the plan as an artifact, and run it.

    Args:
        description: In your own words, such as: a launch week for our tea shop.
        approve: Wait, with the plan as an artifact, until somebody approves it.
        style: Such as: warm, plain.
        domain: The field it belongs to, such as: retail. It chooses the notes that the model is given.
        constraints: Such as: no medical claims.
        sources: Below the worker's folder, such as: CHANGELOG.md, or notes/*.md.
        keep_plan: Where there is one; otherwise each run makes a plan of its own.
        budget_usd: For planning and running together; 0 for no limit.
    """
    vibe = Vibe(description=description, style=style or None, constraints=list(constraints), domain=domain or None)
    limit = budget_usd or None
    plan, spent_usd = await planned(vibe, tuple(sources), keep_plan=keep_plan, budget_usd=limit)
    if approve and (refusal := await refused(plan)) is not None:
        return refusal
    rest = None if limit is None else limit - spent_usd
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
    spent = words(made.spent.tokens, made.spent.usd)
    get_run_logger().info("Planned by %s: %s, answers: %d", made.model, spent, made.answers)
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
    form = PlanApproval.with_initial_data(description=await question(plan))
    answer = await asuspend_flow_run(wait_for_input=form, timeout=APPROVAL_SECONDS, key="plan")
    assert answer is not None
    by = answer.by.strip() or "somebody in Prefect's UI"
    if answer.decision == "approve":
        get_run_logger().info("%s", f"The plan was approved by {by}. {answer.comment}".strip())
        return None
    return Failed(name="Rejected", message=f"the plan was rejected by {by}. {answer.comment}".strip())


async def question(plan: WorkflowPlan) -> str:
    """Return the question whether a plan may be run, with what it would do and cost."""
    expected = await forecast(validate(plan))
    most = None if expected.costs is None else expected.costs.most
    cost = "nothing in it is paid for" if most is None else f"it may cost up to {words(most.tokens, most.usd)}"
    return f"May the plan {plan.id!r} be run? It is an artifact of this run: {expected.verdict}, and {cost}."


def words(tokens: int, usd: float | None) -> str:
    """Return a number of tokens and their price in words."""
    return f"{tokens:,} tokens" + ("" if usd is None else f", {usd:.4f} US dollars")
