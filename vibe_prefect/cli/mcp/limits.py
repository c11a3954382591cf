"""Limits of the operator: an assistant stays within them, whatever it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vibe_prefect.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Limits of every run that an assistant starts."""

    input_root: str
    """The only folder that tools may read from, absolute."""

    output: str
    """The folder for what runs make, absolute."""

    budget_usd: float | None = None
    """Largest budget of a run in US dollars; `None` for no limit."""

    max_tokens: int | None = None
    """Largest number of tokens of a run; `None` for no limit."""

    def budget(self, usd: float | None, tokens: int | None) -> dict[str, Any]:
        """Return the budget of a run by the names of its options: what is asked for, else the limit.

        Args:
            usd: US dollars that are asked for; `None` for as much as is allowed.
            tokens: Tokens likewise.

        Raises:
            UsageError: More is asked for than is allowed.
        """
        budget = {
            "budget_usd": _within("budget_usd", usd, self.budget_usd),
            "max_tokens": _within("max_tokens", tokens, self.max_tokens),
        }
        return {name: value for name, value in budget.items() if value is not None}


def _within(name: str, wanted: float | None, limit: float | None) -> float | None:
    if wanted is not None and limit is not None and wanted > limit:
        raise UsageError(
            f"{name} is {wanted:,}: expected {limit:,} at most, the limit of this server's operator; "
            "leave it out to have that much"
        )
    return limit if wanted is None else wanted
