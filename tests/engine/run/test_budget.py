from __future__ import annotations

import asyncio

import pytest

from vibe_prefect import UsageError
from vibe_prefect.core.budget import Budget, Spending, estimate_tokens, paid_call
from vibe_prefect.errors import BudgetExceededError


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("水水", 2), ("\ud800", 1)])
def test_a_third_of_the_bytes_counts(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


async def test_what_is_left_of_a_reservation_comes_back() -> None:
    budget = Budget(tokens=100)
    for _ in range(9):
        (await budget.reserve(Spending(20))).settle(Spending(10))
    assert budget.spent.tokens == 90
    with pytest.raises(BudgetExceededError, match="90 of 100 tokens are used, and it could use 20"):
        await budget.reserve(Spending(20))


async def test_a_call_that_does_not_fit_waits_for_the_ones_under_way() -> None:
    budget = Budget(usd=1.0)
    first = await budget.reserve(Spending(1, 0.8))
    second = asyncio.create_task(budget.reserve(Spending(1, 0.5)))
    await asyncio.sleep(0)
    assert not second.done()
    first.settle(Spending(1, 0.1))
    assert (await second).most.usd == 0.5


async def test_once_closed_no_further_call_is_made() -> None:
    budget = Budget(usd=1.0, run="plan-calm-otter")
    with pytest.raises(BudgetExceededError, match=r"vibe-prefect resume plan-calm-otter --budget-usd 2\.4$") as caught:
        await budget.reserve(Spending(1, 1.2))
    assert not caught.value.retryable
    with pytest.raises(BudgetExceededError):
        await budget.reserve(Spending(1, 0.1))


async def test_waiting_calls_end_when_the_budget_closes() -> None:
    budget = Budget(usd=1.0)
    first = await budget.reserve(Spending(1, 0.9))
    waiting = [asyncio.create_task(budget.reserve(Spending(1, 0.9))) for _ in range(3)]
    await asyncio.sleep(0)
    first.settle(Spending(1, 0.9))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, BudgetExceededError) for outcome in outcomes)


async def test_an_unknown_price_cannot_keep_a_budget_in_dollars() -> None:
    budget = Budget(usd=1.0)
    with pytest.raises(BudgetExceededError, match="price is not known"):
        await budget.reserve(Spending(1, None))
    limited = Budget(tokens=10)
    (await limited.reserve(Spending(5, None))).settle(Spending(5, None))
    assert limited.spent == Spending(5, 0.0)


async def test_a_call_of_unknown_cost_counts_as_reserved() -> None:
    budget = Budget(usd=1.0)
    (await budget.reserve(Spending(5, 0.4))).settle(Spending(5, None))
    assert budget.spent.usd == 0.4


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf")])
def test_a_limit_is_a_number_above_zero(limit: float) -> None:
    with pytest.raises(UsageError, match="budget_usd is"):
        Budget(usd=limit)


async def test_a_paid_call_settles_with_what_it_has_cost() -> None:
    budget = Budget(usd=1.0)
    async with paid_call(budget, Spending(usd=0.4)) as charge:
        charge.used = Spending(7, 0.1)
    async with paid_call(budget, Spending(usd=0.4)):
        pass  # nobody knows what it cost
    assert budget.spent == Spending(7, 0.5)


async def unusable(budget: Budget) -> None:
    async with paid_call(budget, Spending(usd=0.4)) as charge:
        charge.used = Spending(usd=0.3)
        raise ValueError("unusable")


async def test_a_paid_call_that_fails_counts_only_if_it_was_paid() -> None:
    budget = Budget(usd=1.0)
    with pytest.raises(ValueError, match="refused"):
        async with paid_call(budget, Spending(usd=0.4)):
            raise ValueError("refused")
    assert budget.spent == Spending()
    with pytest.raises(ValueError, match="unusable"):
        await unusable(budget)
    assert budget.spent.usd == 0.3


async def test_a_paid_call_that_is_cancelled_counts_with_all_that_was_reserved() -> None:
    budget = Budget(usd=1.0)

    async def call() -> None:
        async with paid_call(budget, Spending(usd=0.4)):
            await asyncio.Event().wait()

    under_way = asyncio.create_task(call())
    await asyncio.sleep(0)
    under_way.cancel()
    await asyncio.wait([under_way])
    assert budget.spent.usd == 0.4


async def test_without_a_budget_a_paid_call_is_made() -> None:
    async with paid_call(None, Spending(usd=None)) as charge:
        charge.used = Spending(1, 1.0)


async def test_calls_of_unknown_tokens_reserve_what_the_first_of_their_kind_took() -> None:
    budget, under_way, most = Budget(tokens=100), 0, 0

    async def call() -> None:
        nonlocal under_way, most
        async with paid_call(budget, Spending(), kind="picture") as charge:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            charge.used = Spending(40, 0.0)

    outcomes = await asyncio.gather(*(call() for _ in range(6)), return_exceptions=True)
    assert budget.spent.tokens == 80
    assert [type(outcome) for outcome in outcomes].count(BudgetExceededError) == 4


async def test_a_first_call_that_was_refused_teaches_nothing() -> None:
    budget = Budget(tokens=100)
    with pytest.raises(ValueError, match="no"):
        async with paid_call(budget, Spending(), kind="picture"):
            raise ValueError("no")
    async with paid_call(budget, Spending(), kind="picture") as charge:
        charge.used = Spending(60, 0.0)
    with pytest.raises(BudgetExceededError, match="could use 60"):
        await budget.reserve(Spending(), kind="picture")
