"""What a run may spend on models: each call is reserved before it is made, and settled with what it used.

A reservation is the most that a call can cost: its input, counted by `estimate_tokens`, and all the output that it may
make. One that does not fit waits for the calls under way, which mostly use less than they reserved. When it does not
fit and nothing is under way, the budget is closed, and no further call is made.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from vibe_prefect.errors import BudgetExceededError, UsageError
from vibe_prefect.results import resume_command

BYTES_PER_TOKEN = 3
"""UTF-8 bytes that count as a token. English has about 4, so that the count is rather too high than too low."""

PRICE_IT = (
    "set PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_INPUT_PRICE and _OUTPUT_PRICE, or limit tokens with max_tokens instead"
)
"""What to do about a price that is not known."""

USD_DIGITS = 6
"""Digits behind the point to which amounts are told."""


def estimate_tokens(text: str) -> int:
    """Return the tokens that a text counts as: a third of its UTF-8 bytes, rounded up."""
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Spending:
    """What was, or could be, spent."""

    tokens: int = 0
    """Input and output together."""

    usd: float | None = 0.0
    """US dollars; `None` where the price is not known."""

    def __add__(self, other: Spending) -> Spending:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Spending(self.tokens + other.tokens, usd)


class Budget:
    """The limits of one run. It belongs to the event loop that the run is in."""

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        spent: Spending | None = None,
        run: str | None = None,
    ) -> None:
        """Make a budget.

        Args:
            usd: US dollars that the run may spend; `None` for no limit.
            tokens: Tokens that it may use, input and output together; `None` for no limit.
            spent: What the nodes that it keeps from earlier runs have cost.
            run: The run's name, for the command that goes on from it.

        Raises:
            UsageError: A limit is not a number above 0.
        """
        for name, limit in (("budget_usd", usd), ("max_tokens", tokens)):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise UsageError(f"{name} is {limit!r}: expected a number above 0")
        self.usd = usd
        self.tokens = tokens
        self._spent = spent or Spending()
        self._run = run
        self._open: list[Spending] = []
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def spent(self) -> Spending:
        """What was spent so far, without the calls under way."""
        return self._spent

    async def reserve(self, most: Spending) -> Reservation:
        """Reserve the most that a call can cost; wait for calls under way where that is needed.

        Raises:
            BudgetExceededError: The call does not fit, or an earlier one did not.
        """
        while not self._closed:
            if self._fits(most):
                self._open.append(most)
                return Reservation(self, most)
            if not self._open or self._unpriced(most):
                self._closed = True
                self._notify()
                break
            await self._changed.wait()
        raise BudgetExceededError(self._refusal(most))

    def settle(self, reserved: Spending, used: Spending) -> None:
        """Exchange a reservation for what was used; where that has no known price, the reserved amount counts."""
        self._open.remove(reserved)
        usd = reserved.usd if used.usd is None else used.usd
        self._spent += Spending(used.tokens, usd if usd is not None else 0.0)
        self._notify()

    def _fits(self, most: Spending) -> bool:
        after = sum([*self._open, most], self._spent)
        fits_usd = self.usd is None or (after.usd is not None and after.usd <= self.usd)
        return fits_usd and (self.tokens is None or after.tokens <= self.tokens)

    def _unpriced(self, most: Spending) -> bool:
        return self.usd is not None and most.usd is None

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _refusal(self, most: Spending) -> str:
        if self._unpriced(most):
            return f"budget: the model's price is not known, so budget_usd cannot be kept; {PRICE_IT}"
        spent, options = self._spent, ""
        parts: list[str] = []
        if self.usd is not None and spent.usd is not None and most.usd is not None:
            parts.append(f"{_usd(spent.usd)} of {_usd(self.usd)} USD are spent, and it could cost {_usd(most.usd)} USD")
            options += f" --budget-usd {_usd(max(2 * self.usd, 2 * (spent.usd + most.usd)))}"
        if self.tokens is not None:
            parts.append(f"{spent.tokens:,} of {self.tokens:,} tokens are used, and it could use {most.tokens:,}")
            options += f" --max-tokens {max(2 * self.tokens, 2 * (spent.tokens + most.tokens))}"
        how = f"; go on with more: {resume_command(self._run)}{options}" if self._run else ""
        return f"budget: stopped before the next call to a model: {'; '.join(parts)}{how}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that may be made."""

    budget: Budget
    """Whose it is."""

    most: Spending
    """What was reserved."""

    def settle(self, used: Spending) -> None:
        """Tell what the call used."""
        self.budget.settle(self.most, used)


def _usd(amount: float) -> str:
    return f"{amount:.{USD_DIGITS}f}".rstrip("0").rstrip(".")
