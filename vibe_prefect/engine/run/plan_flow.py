"""A Prefect flow whose parameter `plan` is a plan, which Prefect takes neither for blocks nor for its own data."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any, cast, get_type_hints

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.names import generate_slug
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.inputs.plan_store import PLAN, plan_id_of, plan_parameter
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.plan.reading.size import SMALL_BYTES, slim_data, weight

BLOCK_REFERENCE = "$ref"
"""A mapping with this key is a block to Prefect, wherever it stands. In a plan it may be part of a JSON Schema."""


class PlanFlow(Flow[..., Coroutine[Any, Any, Any]]):
    """A flow of one plan."""

    storage: Callable[[], str | Path | None] = staticmethod(lambda: None)
    """Returns where the records of the run that begins are kept; see `open_store`."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Check the parameters, without a look into the plan: a `$ref` in it is not a block, and the flow checks it."""
        plan = parameters.get(PLAN)
        if not isinstance(plan, WorkflowPlan) and not (isinstance(plan, Mapping) and BLOCK_REFERENCE not in plan):
            return super().validate_parameters(parameters)
        model = _parameters_model(self.fn)
        try:
            checked = model.model_validate({name: value for name, value in parameters.items() if name != PLAN})
        except ValidationError:  # or a block's reference; Prefect looks it up, or says what is wrong
            return super().validate_parameters({**parameters, PLAN: {}}) | {PLAN: plan}
        return {name: getattr(checked, name) for name in model.model_fields} | {PLAN: plan}

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what the server is given: of the plan its data, or where a large one is kept."""
        plan = parameters.get(PLAN)
        if not isinstance(plan, WorkflowPlan):
            return super().serialize_parameters(parameters)
        given: Any = slim_data(plan)
        if weight(given) > SMALL_BYTES:
            given = run_coro_as_sync(_parameter(plan, self.storage()))
        return super().serialize_parameters({**parameters, PLAN: None}) | {PLAN: given}

    def new_run_name(self, parameters: Mapping[str, Any]) -> str | None:
        """Return a name for a new run: the plan's id before two words, so that a list of runs tells plans apart.

        Args:
            parameters: What the server is given.

        Returns:
            `None` where they hold only the name or the path of a plan, which nothing has looked up yet.
        """
        plan_id = plan_id_of(parameters)
        return f"{plan_id}-{generate_slug(2)}" if plan_id is not None else None

    def with_options(self, *args: Any, **options: Any) -> PlanFlow:
        """Return this flow with other options; see `prefect.Flow.with_options`."""
        changed = super().with_options(*args, **options)
        changed.__class__ = PlanFlow  # Prefect makes one of its own class
        plan_flow = cast("PlanFlow", changed)
        plan_flow.storage = self.storage
        return plan_flow


@lru_cache(maxsize=4)
def _parameters_model(function: Callable[..., Any]) -> type[BaseModel]:
    """Return the model of a flow's parameters without the plan; Prefect makes one in each run, which takes 4 ms."""
    types = get_type_hints(function, include_extras=True)
    given = [(name, one.default) for name, one in signature(function).parameters.items() if name != PLAN]
    fields: Any = {name: (types[name], default) for name, default in given}
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


async def _parameter(plan: WorkflowPlan, storage: str | Path | None) -> dict[str, Any] | str:
    async with get_client() as client:
        return await plan_parameter(plan, await open_store(storage), client)
