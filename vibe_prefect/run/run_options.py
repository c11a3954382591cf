"""The options of a run: the flow, the executor, the command line and offline runs take their meaning from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError

from vibe_prefect.core.budget import MAX_CONCURRENCY, MAX_TOKENS, MAX_USD, Budget, Spending
from vibe_prefect.core.run_values import ReplanBy, Reuse
from vibe_prefect.errors import UsageError
from vibe_prefect.text.documented import Documented, field_docstrings
from vibe_prefect.text.pydantic_errors import finding

if TYPE_CHECKING:
    from vibe_prefect.plan.selection import Choice

MAX_ADAPT = 20
"""Largest number of further attempts."""

Adapt = Annotated[int, Field(ge=0, le=MAX_ADAPT)]
Concurrency = Annotated[int | None, Field(ge=1, le=MAX_CONCURRENCY)]
BudgetUsd = Annotated[float | None, Field(gt=0, le=MAX_USD)]
MaxTokens = Annotated[int | None, Field(ge=1, le=MAX_TOKENS)]


class RunOptions(Documented):
    """Options of a run. Help texts and forms show the text under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resume_from: str | None = None
    """Name or id of an earlier run to resume: its completed nodes are reused, also when the plan was edited since; only
    changed nodes, and those that depend on their outputs, run again."""

    select: str | None = None
    """Nodes that may run, such as `+blog` or `type:generate`; any other is reused where it has a record, and skipped
    where it has none."""

    exclude: str | None = None
    """Nodes that may not run, of those."""

    refresh: str | None = None
    """Nodes that run again although they have a record."""

    reuse: Reuse = "run"
    """Records that this run may reuse: `run` for its own and those of the run that it resumes, `plan` for those of
    every run of the plan with this setting."""

    concurrency: Concurrency = 32
    """Largest number of nodes at once."""

    run_on: str | None = None
    """Placement where all nodes run, whatever the plan says; `local` for the process of the run itself."""

    simulate: bool = False
    """Run every node as a simulation: nothing is called, spent or written."""

    input_root: str = "."
    """The only folder that tools may read from."""

    output: str = "outputs"
    """The folder for what runs make; each run has a folder of its own below it."""

    budget_usd: BudgetUsd = None
    """US dollars that models and paid tools may cost, reused nodes included; a call that could exceed it is not
    made."""

    max_tokens: MaxTokens = None
    """Tokens that models and paid tools may use, input and output together, reused nodes included; a call that could
    exceed it is not made."""

    without_model: bool = False
    """Resume without the language model that the earlier run had: with the one that is configured now, or where there
    is none with templates, and unjudged."""

    adapt: Adapt = 0
    """Number of further attempts at a run that is not good enough: each edits the plan by what came of the last one,
    and reuses what did not change. Ends early where an attempt is no better than the one before; the budget is for all
    attempts together."""

    replan_by: ReplanBy = "rule"
    """Editor of the plan between attempts: `rule`, or `model` for the model that is configured."""

    inputs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Values of the inputs that the plan declares, by name; those left out have the plan's defaults."""

    @property
    def choice(self) -> Choice:
        """The nodes that may run, and those that run again."""
        from vibe_prefect.plan.selection import Choice  # the options alone, as for help texts, need no compiler

        return Choice(self.select, self.exclude, self.refresh)

    @property
    def is_limited(self) -> bool:
        """Whether the run has a budget."""
        return self.budget_usd is not None or self.max_tokens is not None

    def budget(self, spent: Spending | None = None, run: str | None = None) -> Budget | None:
        """Return the budget; `None` where there is no limit.

        Args:
            spent: Cost of the nodes that are reused.
            run: Name of the run, for the command that resumes it.
        """
        return Budget(usd=self.budget_usd, tokens=self.max_tokens, spent=spent, run=run) if self.is_limited else None

    def replaced(self, given: Mapping[str, Any]) -> Self:
        """Return these options with some of them replaced.

        Args:
            given: The new values, by name.

        Raises:
            UsageError: An option is not known, or its value is not valid.
        """
        try:
            return self.model_validate(self.model_dump() | dict(given))
        except ValidationError as error:
            details: list[dict[str, Any]] = [dict(detail) for detail in error.errors(include_url=False)]
            problems = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {finding(detail)}" for detail in details)
            raise UsageError(f"the options of the run: {problems}") from None


def help_of(name: str, more: str = "") -> str:
    """Return the text that describes an option.

    Args:
        name: The option.
        more: The meaning of leaving it out, where that differs from use to use.
    """
    text = " ".join((field_docstrings(RunOptions)[name]).split())
    return f"{text.rstrip('.')}; {more}." if more else text
