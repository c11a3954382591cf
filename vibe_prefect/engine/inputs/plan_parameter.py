"""The parameter `plan` of a deployed flow: a plan, the path of a plan file, or the name of a stored plan.

Prefect's own check of a flow's parameters would fail a run with pydantic's words for each part of the union. So the
form is described to Prefect in full, but the values are checked here, with every problem in one message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from prefect.client.orchestration import PrefectClient
from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.inputs.operator_roots import OperatorRoots, Whole, as_it_is
from vibe_prefect.engine.inputs.plan_block import WorkflowPlanBlock, stored_plan
from vibe_prefect.engine.inputs.plan_store import kept_plan, recorded_data
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.errors import PlanError, Problem
from vibe_prefect.plan.graph import PlanSource
from vibe_prefect.plan.reading.plan_file import LoadedPlan, load_plan, plan_of_data, read_plan

_STORED = re.compile(r"[a-z0-9-]+")
"""Form of the name of a block in Prefect; a path of a plan file has a dot or a slash."""


class _CheckedLater:
    """Keeps a type's JSON Schema and lets every value through."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(lambda value, _: value, handler(source))


StoredOrFile = Annotated[
    str,
    Field(
        title="Stored plan, file or text",
        description="The name of a stored plan, such as nightly-digest; or the path of a plan file in the worker's "
        "working folder, such as flows/plans/release_digest.yaml; or a plan itself, as YAML or JSON.",
        examples=["nightly-digest", "flows/plans/release_digest.yaml"],
    ),
]

AsJson = Annotated[
    Any,
    Field(title="JSON", description="A plan as JSON. What is wrong with it, a run says at once, with every problem."),
]
"""Anything: so Prefect's server refuses no plan, which it would with a plan's data in the message for a reason."""

PlanInput = Annotated[StoredOrFile | WorkflowPlan | AsJson, _CheckedLater()]
"""Type of the parameter. The form shows the first alternative, one field, until the other is chosen."""


@dataclass(frozen=True)
class GivenPlan:
    """The plan that a parameter stands for."""

    plan: WorkflowPlan
    """The plan."""

    source: PlanSource | None = None
    """Positions of its values, for messages."""

    origin: str | None = None
    """Origin of a plan that was looked up, for people; `None` when the parameter is the plan itself."""


async def given_plan(
    value: object, client: PrefectClient, roots: OperatorRoots | None = None, whole: Whole = as_it_is
) -> GivenPlan:
    """Return the plan that a parameter stands for.

    Args:
        value: A plan, its data, its text, the path of its file, the name under which it is stored, or the reference
            to a plan beside the records.
        client: The Prefect server that stores plans.
        roots: Bounds for plan files; `None` for no bounds.
        whole: Adds to an error about a plan file the problems that compiling shows, before any of it is hidden.

    Raises:
        UsageError: It is the path of a file outside the bounds.
        KeptPlanError: The plan's file is not beside the records.
        PlanError: It is no plan.
        UnknownPlanError: No plan is stored under that name.
    """
    if kept_plan(value):
        value = await recorded_data(value, await open_store(None))
    match value:
        case WorkflowPlan():
            return GivenPlan(value)
        case WorkflowPlanBlock():
            return _found(value.loaded("block"), "a stored plan")
        case str():
            return await _referred(value.strip(), client, roots, whole)
        case Mapping():
            return GivenPlan(plan_of_data(cast("Mapping[str, Any]", value)).plan)
        case _:
            problem = "expected a plan, the path of a plan file, or the name of a stored plan, found"
            raise PlanError([Problem(f"{problem} {'nothing' if value is None else type(value).__name__}")])


async def _referred(text: str, client: PrefectClient, roots: OperatorRoots | None, whole: Whole) -> GivenPlan:
    if "\n" in text or text.startswith("{"):
        return _found(read_plan("plan", text), "a text")
    if _STORED.fullmatch(text):
        return _found(await stored_plan(client, text), f"the stored plan {text!r}")
    if not text:
        raise PlanError([Problem("expected the path of a plan file or the name of a stored plan, found nothing")])
    loaded = load_plan(text) if roots is None else roots.load_plan(text, whole)
    return _found(loaded, f"the file {text!r}")


def _found(loaded: LoadedPlan, origin: str | None) -> GivenPlan:
    return GivenPlan(loaded.plan, loaded.source, origin)
