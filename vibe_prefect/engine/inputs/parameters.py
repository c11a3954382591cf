"""The flow's parameters as the form in the Prefect UI shows them, and their defaults.

Prefect titles a parameter with its name, and describes it with the flow's docstring; the form's own texts are
added to the JSON Schema of its type.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from vibe_prefect.core import run_values
from vibe_prefect.engine.inputs.plan_parameter import PlanInput
from vibe_prefect.errors import SettingsError
from vibe_prefect.run import run_options
from vibe_prefect.run.run_options import RunOptions, help_of
from vibe_prefect.settings.package import load_settings


def _form_defaults() -> RunOptions:
    """Return the options of the settings, or the package's own where one is wrong: a run reports it, not the import."""
    try:
        return load_settings().run_options
    except SettingsError:
        return RunOptions()


CHECK_VARIABLE = "VIBE_PREFECT_CHECK_ONLY"
"""Variable of the environment with which a run ends before its first node, once all is checked that can be."""

DEFAULTS = _form_defaults()
"""The options as the settings stood at the time of import: Prefect shows a flow's defaults in the form."""


def _form(title: str, description: str, *examples: Any) -> Any:
    shown: dict[str, Any] = {"title": title, "description": description}
    return Field(json_schema_extra=shown | ({"examples": list(examples)} if examples else {}))


_PLAN = "What to run: a plan; or the name of a stored plan; or the path of a plan file, below the worker's folder."
_DEPLOYED = "in a deployed run it lies in that of the setting"
_SELECTORS = ("+blog", "type:generate", "tag:draft,tool:template_fill")
_UNLIMITED = "empty for no limit"

Plan = Annotated[PlanInput, _form("Plan", _PLAN)]
ResumeFrom = Annotated[str | None, _form("Resume run", help_of("resume_from"), "release-digest-calm-otter")]
Select = Annotated[str | None, _form("Only these nodes", help_of("select"), *_SELECTORS)]
Exclude = Annotated[str | None, _form("Not these nodes", help_of("exclude"), "publish+", "tool:write_file")]
Refresh = Annotated[str | None, _form("Refresh nodes", help_of("refresh"), "blog+")]
Reuse = Annotated[run_values.Reuse, _form("Reuse records of", help_of("reuse"))]
Concurrency = Annotated[run_options.Concurrency, _form("Concurrency", help_of("concurrency", _UNLIMITED), 8)]
RunOn = Annotated[str | None, _form("Run on", help_of("run_on"), "local")]
Simulated = Annotated[bool, _form("Simulate", help_of("simulate"))]
Options = Annotated[SkipJsonSchema[dict[str, Any] | None], Field(json_schema_extra={"title": "Options"})]
"""The parameters after the plan as a group, for the form of a deployed plan; other forms show each by itself."""

Inputs = Annotated[dict[str, Any], _form("Inputs", help_of("inputs"), {"product": "Tea"})]
InputRoot = Annotated[str, _form("Input folder", help_of("input_root", _DEPLOYED), ".", "/srv/content")]
Output = Annotated[str, _form("Output folder", help_of("output", _DEPLOYED), "outputs", "/srv/outputs")]
BudgetUsd = Annotated[run_options.BudgetUsd, _form("Budget in US dollars", help_of("budget_usd"), 0.5)]
MaxTokens = Annotated[run_options.MaxTokens, _form("Tokens at most", help_of("max_tokens"), 200_000)]
WithoutModel = Annotated[bool, _form("Resume without the model", help_of("without_model"))]
