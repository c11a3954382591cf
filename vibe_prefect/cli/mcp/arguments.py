"""Arguments of the tools that assistants call. Their schemas show the text under each field."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from vibe_prefect.core.budget import MAX_TOKENS, MAX_USD
from vibe_prefect.run.run_options import help_of

MAX_TEXT = 1_000_000
"""Characters of a plan."""

PlanSource = Annotated[str, Field(max_length=MAX_TEXT)]
BudgetUsd = Annotated[float | None, Field(gt=0, le=MAX_USD)]
MaxTokens = Annotated[int | None, Field(ge=1, le=MAX_TOKENS)]


class Arguments(BaseModel):
    """Arguments of a tool; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NoArguments(Arguments):
    """Arguments of a tool that takes none."""


class ToolsArguments(Arguments):
    """Arguments of `tools`."""

    name: str | None = None
    """Only this tool, with the JSON Schemas of its inputs and outputs, and examples."""


class ValidateArguments(Arguments):
    """Arguments of `validate`."""

    plan: PlanSource
    """The text of the plan, YAML or JSON."""

    inputs: dict[str, Any] | None = None
    """Values of the inputs that the plan declares, by name, to be checked too."""


class PlanArguments(Arguments):
    """Arguments of `plan`."""

    wish: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    """What is to be made, in plain words; with `plan`, what is to change in it."""

    plan: PlanSource | None = None
    """The text of a plan to edit; left out, a new plan is written."""

    style: str | None = None
    """Style of the result, such as `warm, plain`; for a new plan."""

    constraints: tuple[str, ...] = ()
    """What must hold, such as `no medical claims`; for a new plan."""

    domain: str | None = None
    """The field it belongs to, such as retail; for a new plan."""

    sources: tuple[str, ...] = ()
    """Files, folders and globs below the input folder that the plan may read; by default none."""

    budget_usd: BudgetUsd = None
    """US dollars that the answers of the model may cost."""

    max_tokens: MaxTokens = None
    """Tokens that they may use, input and output together."""


class RunArguments(Arguments):
    """Arguments of `forecast` and `run`."""

    plan: PlanSource | None = None
    """The text of the plan, YAML or JSON; may be left out where a run is resumed with the plan that it had."""

    inputs: dict[str, Any] = Field(default_factory=dict[str, Any], description=help_of("inputs"))

    resume_from: Annotated[str | None, Field(description=help_of("resume_from"))] = None

    select: Annotated[str | None, Field(description=help_of("select"))] = None

    exclude: Annotated[str | None, Field(description=help_of("exclude"))] = None

    refresh: Annotated[str | None, Field(description=help_of("refresh"))] = None

    budget_usd: Annotated[BudgetUsd, Field(description=help_of("budget_usd"))] = None

    max_tokens: Annotated[MaxTokens, Field(description=help_of("max_tokens"))] = None


class RunsArguments(Arguments):
    """Arguments of `runs`."""

    limit: Annotated[int, Field(ge=1, le=200)] = 20
    """Number of runs at most."""


class ReportArguments(Arguments):
    """Arguments of `report`."""

    run: str | None = None
    """Name or id of the run; by default the newest one."""


class _AnswerArguments(Arguments):
    run: str
    """Name or id of the run that asks."""

    node: str
    """Id of the node that asks."""

    by: str
    """Name of the person who decides; it is kept with the answer, together with the name of the assistant."""

    item: str | None = None
    """The dependency that is meant, where the node asks about several; by default all of them."""


class ApproveArguments(_AnswerArguments):
    """Arguments of `approve`."""

    comment: str = ""
    """A comment that is kept with the answer."""

    text: str | None = None
    """Edited text in place of what is shown; what depends on the node gets this one."""


class RejectArguments(_AnswerArguments):
    """Arguments of `reject`."""

    because: str
    """The reason, kept with the answer."""
