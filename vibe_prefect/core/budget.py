"""Budgets of runs: each paid call is reserved before it is made, and settled with its cost.

A reservation is the most that a call can cost. For a model it is the input, counted by `estimate_tokens`, and all the
output that it may make; for a picture or speech, the operator's price. A reservation that does not fit waits for the
calls under way, which mostly use less than they reserved. When it does not fit and nothing is under way, the budget is
closed, and no further call is made.

Any tool that pays for something does the same with `paid_call`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vibe_prefect.errors import BudgetExceededError, UsageError
from vibe_prefect.results import resume_command

if TYPE_CHECKING:
    import asyncio

MAX_TOKENS = 10**15
"""The largest limit of tokens that a run may be given: the server's database holds integers of 64 bits."""

MAX_USD = 10**9
"""The largest limit of US dollars."""

MAX_CONCURRENCY = 20_000
"""The largest number of nodes at once: as many as a plan may have."""

CALLS_IN_SHARE = 3
"""Number of times that each call of a node can be paid for from its share of a budget."""

BYTES_PER_TOKEN = 3
"""UTF-8 bytes that count as a token. English has about 4, so that the count is rather too high than too low."""

PRICE_IT = "set PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_INPUT_PRICE and _OUTPUT_PRICE"
"""Remedy for an unknown price of a model."""

OR_TOKENS = ", or limit tokens with max_tokens instead"
"""The other way to limit a run whose prices are not known."""

USD_DIGITS = 6
"""Digits behind the point of amounts in texts."""


def estimate_tokens(text: str) -> int:
    """Return the tokens that a text counts as: a third of its UTF-8 bytes, rounded up."""
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens and dollars that were, or could be, spent."""

    tokens: int = 0
    """Input and output together; 0 where the other side counts none."""

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
            spent: Cost of the nodes that are reused from earlier runs.
            run: The run's name, for the command that resumes it.

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
        self._first: set[str] = set()
        self._learned: dict[str, int] = {}
        self._closed: str | None = None
        self._changed = _new_event()
        self.before_call: Callable[[], Awaitable[object]] | None = None
        """Called each time that a reservation was made, before the call that it is for."""

    @property
    def spent(self) -> Spending:
        """Spending so far, without the calls under way."""
        return self._spent

    @property
    def committed(self) -> Spending:
        """Spending so far, and the most that the calls under way can cost."""
        return sum(self._open, self._spent)

    async def reserve_rest(self) -> Reservation:
        """Reserve all that is left, once no call is under way; nothing where a call was refused before."""
        while self._open and self._closed is None:
            await self._changed.wait()
        rest = self._left() if self._closed is None else Spending()
        self._open.append(rest)
        return Reservation(self, rest)

    async def reserve_share(self, most: Spending | None) -> Reservation:
        """Reserve for work whose calls are made in another process, which has the share as its budget.

        Args:
            most: The most that one call of each kind can cost. It is reserved several times while there is room, as a
                call may be made again. `None` where that is not known: then it is the rest; see `reserve_rest`.

        Raises:
            BudgetExceededError: A call does not fit, or an earlier one did not.
        """
        if most is None:
            return await self.reserve_rest()
        left = self._left()
        tokens = max(most.tokens, min(CALLS_IN_SHARE * most.tokens, left.tokens))
        usd = None if most.usd is None else max(most.usd, min(CALLS_IN_SHARE * most.usd, left.usd or 0.0))
        return await self.reserve(Spending(tokens, usd))

    def _left(self) -> Spending:
        """Return what is neither spent nor reserved; 0 of what has no limit, which needs no reservation."""
        taken = sum(self._open, self._spent)
        usd = 0.0 if self.usd is None else max(0.0, self.usd - (taken.usd or 0.0))
        return Spending(0 if self.tokens is None else max(0, self.tokens - taken.tokens), usd)

    async def reserve(self, most: Spending, *, kind: str | None = None, price_it: str = PRICE_IT) -> Reservation:
        """Reserve the most that a call can cost; wait for calls under way where that is needed.

        Args:
            most: The most that the call can cost.
            kind: For a call whose tokens are not known before it, as those of a picture: a name for calls that use
                about as many. Under a limit of tokens the first of a kind goes alone, and each later one also reserves
                the most tokens that one of them has used.
            price_it: Remedy where `most` has no price, for the error.

        Raises:
            BudgetExceededError: The call does not fit, or an earlier one did not; the message is about the first.
        """
        while self._closed is None:
            reserved = self._whole(most, kind)
            alone = self.tokens is not None and kind is not None and kind not in self._learned
            if not (alone and kind in self._first):
                if self._fits(reserved):
                    self._open.append(reserved)
                    self._first |= {kind} if alone and kind else set()
                    reservation = Reservation(self, reserved, kind)
                    await self._announce(reservation)
                    return reservation
                if not self._open or self._unpriced(reserved):
                    self._closed = self._refusal(reserved, price_it)
                    self._notify()
                    break
            await self._changed.wait()
        raise BudgetExceededError(self._closed)

    def settle(self, reservation: Reservation, used: Spending | None) -> None:
        """Exchange a reservation for the call's cost; where its price is not known, the reserved amount counts.

        Args:
            reservation: The reservation.
            used: Cost of the call; `None` for an unpaid call, which teaches nothing about its kind.
        """
        reserved, kind = reservation.most, reservation.kind
        self._open.remove(reserved)
        if used is not None:
            usd = reserved.usd if used.usd is None else used.usd
            self._spent += Spending(used.tokens, usd if usd is not None else 0.0)
        if kind is not None:
            self._first.discard(kind)
            if used is not None:
                self._learned[kind] = max(self._learned.get(kind, 0), used.tokens)
        self._notify()

    async def _announce(self, reservation: Reservation) -> None:
        """Call `before_call`; where that fails, the reservation is given back."""
        if self.before_call is None:
            return
        try:
            await self.before_call()
        except BaseException:
            reservation.settle(None)
            raise

    def _whole(self, most: Spending, kind: str | None) -> Spending:
        return Spending(max(most.tokens, self._learned.get(kind, 0) if kind else 0), most.usd)

    def _fits(self, most: Spending) -> bool:
        after = sum([*self._open, most], self._spent)
        fits_usd = self.usd is None or (after.usd is not None and after.usd <= self.usd)
        return fits_usd and (self.tokens is None or after.tokens <= self.tokens)

    def _unpriced(self, most: Spending) -> bool:
        return self.usd is not None and most.usd is None

    def _notify(self) -> None:
        self._changed.set()
        self._changed = _new_event()

    def _refusal(self, most: Spending, price_it: str) -> str:
        if self._unpriced(most):
            return f"budget: the call's price is not known, so budget_usd cannot be kept; {price_it}{OR_TOKENS}"
        spent, options = self._spent, ""
        parts: list[str] = []
        if self.usd is not None and spent.usd is not None and most.usd is not None:
            parts.append(f"{_usd(spent.usd)} of {_usd(self.usd)} USD are spent, and it could cost {_usd(most.usd)} USD")
            options += f" --budget-usd {_usd(max(2 * self.usd, 2 * (spent.usd + most.usd)))}"
        if self.tokens is not None:
            parts.append(f"{spent.tokens:,} of {self.tokens:,} tokens are used, and it could use {most.tokens:,}")
            options += f" --max-tokens {max(2 * self.tokens, 2 * (spent.tokens + most.tokens))}"
        how = f"; resume with more: {resume_command(self._run)}{options}" if self._run else ""
        return f"budget: stopped before the next paid call: {'; '.join(parts)}{how}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that may be made."""

    budget: Budget
    """The budget that it is a part of."""

    most: Spending
    """The amount that was reserved."""

    kind: str | None = None
    """The kind of call; see `Budget.reserve`."""

    def settle(self, used: Spending | None) -> None:
        """Exchange it for what the call used; `None` for a call that was not paid."""
        self.budget.settle(self, used)


@dataclass(slots=True)
class Charge:
    """The cost of one call, filled in by its caller."""

    used: Spending | None = None
    """Cost of the call; `None` as long as it is not known."""


@asynccontextmanager
async def paid_call(
    budget: Budget | None, most: Spending, *, kind: str | None = None, price_it: str = PRICE_IT
) -> AsyncGenerator[Charge]:
    """Make one paid call within a budget: reserve before the block, settle after it.

    Set `used` of the charge as soon as the cost of the call is known, also when its result cannot be used.
    Where it is not set, a block that ends well or is cancelled counts with the whole reservation, and a block that
    raises an error with nothing.

        async with paid_call(context.get("budget"), Spending(usd=0.02)) as charge:
            picture = await ask_for_picture(prompt)

    Args:
        budget: The run's budget, `context.get("budget")` of a tool; `None` where the run has none.
        most: The most that the call can cost.
        kind: A name for calls whose tokens are not known before; see `Budget.reserve`.
        price_it: Remedy where `most` has no price: the setting to make.

    Raises:
        BudgetExceededError: The budget does not allow the call; the block was not entered.
    """
    reservation = None if budget is None else await budget.reserve(most, kind=kind, price_it=price_it)
    charge = Charge()
    unsaid: Spending | None = most
    try:
        yield charge
    except Exception:
        unsaid = None
        raise
    finally:
        if reservation is not None:
            reservation.settle(unsaid if charge.used is None else charge.used)


def _new_event() -> asyncio.Event:
    import asyncio  # takes 40 ms, and the options of a run, as for help, only name the bounds above

    return asyncio.Event()


def _usd(amount: float) -> str:
    return f"{amount:.{USD_DIGITS}f}".rstrip("0").rstrip(".")
