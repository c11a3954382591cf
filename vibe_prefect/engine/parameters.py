"""The flow's parameters as the form in the Prefect UI shows them, and their defaults.

Prefect titles a parameter with its name, and describes it with the flow's docstring; what else the form needs is added
to the JSON Schema of its type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vibe_prefect.budget import MAX_CONCURRENCY, MAX_TOKENS, MAX_USD
from vibe_prefect.engine.plan_parameter import PlanInput
from vibe_prefect.errors import SettingsError
from vibe_prefect.settings import VibePrefectSettings, load_settings, package_settings


def _form_defaults() -> VibePrefectSettings:
    """Return the settings, or the package's own where one is wrong: the import goes on, and a run reports it."""
    try:
        return load_settings()
    except SettingsError:
        return package_settings()


DEFAULTS = _form_defaults()
"""The settings at the time of import: Prefect shows a flow's defaults in the form."""


def _form(title: str, *examples: Any) -> Any:
    return Field(json_schema_extra={"title": title, **({"examples": list(examples)} if examples else {})})


Plan = Annotated[PlanInput, _form("Plan")]
ResumeFrom = Annotated[str | None, _form("Resume run", "release-digest-calm-otter")]
Select = Annotated[str | None, _form("Only these nodes", "+blog", "type:generate", "tag:draft,tool:template_fill")]
Exclude = Annotated[str | None, _form("Not these nodes", "publish+", "tool:write_file")]
Refresh = Annotated[str | None, _form("Refresh nodes", "blog+")]
Reuse = Annotated[Literal["run", "plan"], _form("Reuse records of")]
Concurrency = Annotated[
    int | None, Field(ge=1, le=MAX_CONCURRENCY, json_schema_extra={"title": "Concurrency", "examples": [8]})
]
Simulated = Annotated[bool, _form("Simulate")]
InputRoot = Annotated[str, _form("Input folder", ".", "/srv/content")]
Output = Annotated[str, _form("Output folder", "outputs", "/srv/outputs")]
BudgetUsd = Annotated[
    float | None, Field(gt=0, le=MAX_USD, json_schema_extra={"title": "Budget in US dollars", "examples": [0.5]})
]
MaxTokens = Annotated[
    int | None, Field(ge=1, le=MAX_TOKENS, json_schema_extra={"title": "Tokens at most", "examples": [200_000]})
]
