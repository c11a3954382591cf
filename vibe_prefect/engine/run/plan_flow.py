"""A Prefect flow with a plan as its parameter `plan`, which Prefect takes neither for blocks nor for its own data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any, cast, get_type_hints

from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect.utilities.annotations import quote
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.names import generate_slug
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_jsonable_python

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.inputs.option_group import ungrouped
from vibe_prefect.engine.inputs.plan_store import PLAN, plan_id_of, plan_parameter
from vibe_prefect.engine.prefect_seam.flows import LateSchemaFlow
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.plan.reading.size import SMALL_BYTES, slim_data, weight
from vibe_prefect.text.pydantic_errors import finding

BLOCK_REFERENCE = "$ref"
"""Key of mappings that Prefect takes for blocks, at any depth. In a plan it may be part of a JSON Schema."""


class PlanFlow(LateSchemaFlow):
    """A flow of one plan."""

    storage: Callable[[], str | Path | None] = staticmethod(lambda: None)
    """Returns the storage of the records of the run that begins; see `open_store`."""

    more_tags: Callable[[], set[str]] = staticmethod(set[str])
    """Returns tags of the run that begins, besides that of its plan."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Check the parameters but for the plan's content: a `$ref` in it is not a block, and the flow checks it.

        Raises:
            ParameterTypeError: A parameter has a value that it cannot have; the message names the form's field.
        """
        parameters = ungrouped(parameters)
        plan = parameters.get(PLAN)
        is_content = isinstance(plan, WorkflowPlan) or (isinstance(plan, Mapping) and BLOCK_REFERENCE not in plan)
        model = _parameters_model(self.fn)
        options = {name: value for name, value in parameters.items() if name != PLAN}
        try:
            checked = model.model_validate(options)
        except ValidationError as error:
            if not any(isinstance(value, Mapping) and BLOCK_REFERENCE in value for value in options.values()):
                raise ParameterTypeError(_in_words(error, model)) from None
            # Prefect looks blocks up.
            return super().validate_parameters({**parameters, PLAN: {} if is_content else plan}) | {PLAN: plan}
        if not is_content:
            return super().validate_parameters(parameters)
        return {name: getattr(checked, name) for name in model.model_fields} | {PLAN: plan}

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters for the server, with the plan's data, or the reference to a large plan."""
        parameters = ungrouped(parameters)
        plan = parameters.get(PLAN)
        plan = cast("quote[Any]", plan).unquote() if isinstance(plan, quote) else plan
        if not isinstance(plan, WorkflowPlan):
            return super().serialize_parameters(parameters)
        plan_value: Any = slim_data(plan)
        if weight(plan_value) > SMALL_BYTES:
            plan_value = run_coro_as_sync(_parameter(plan, self.storage()))
        options = {name: value for name, value in parameters.items() if name != PLAN}
        try:
            serialized: dict[str, Any] = to_jsonable_python(options)
        except (ValueError, RecursionError):  # then as Prefect does it, which imports FastAPI for 0.1 s
            serialized = super().serialize_parameters(options)
        return serialized | {PLAN: plan_value}

    def new_run_name(self, parameters: Mapping[str, Any]) -> str | None:
        """Make a name for a new run: the plan's id before two words, so that plans differ in a list of runs.

        Args:
            parameters: The run's parameters, as the server gets them.

        Returns:
            `None` where they hold only the name or the path of a plan.
        """
        plan_id = plan_id_of(parameters)
        return f"{plan_id}-{generate_slug(2)}" if plan_id is not None else None

    def with_options(self, *args: Any, **options: Any) -> PlanFlow:
        """Return this flow with other options; see `prefect.Flow.with_options`."""
        changed = super().with_options(*args, **options)
        changed.__class__ = PlanFlow  # Prefect makes a plain Flow
        plan_flow = cast("PlanFlow", changed)
        plan_flow.storage = self.storage
        plan_flow.more_tags = self.more_tags
        return plan_flow


@lru_cache(maxsize=4)
def _parameters_model(function: Callable[..., Any]) -> type[BaseModel]:
    """Return the model of a flow's parameters without the plan; Prefect makes one in each run, which takes 4 ms."""
    types = get_type_hints(function, include_extras=True)
    defaults = [(name, parameter.default) for name, parameter in signature(function).parameters.items() if name != PLAN]
    fields: Any = {name: (types[name], default) for name, default in defaults}
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong with which field of the form, a line for each."""
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0])
        field = model.model_fields.get(name)
        shown = cast("dict[str, Any]", field.json_schema_extra or {}) if field else {}
        title = shown.get("title", name)
        lines.append(f"{title} ({name}): {finding(dict(detail))}")
    return "\n".join(lines)


async def _parameter(plan: WorkflowPlan, storage: str | Path | None) -> dict[str, Any] | str:
    async with get_client() as client:
        return await plan_parameter(plan, await open_store(storage), client)
