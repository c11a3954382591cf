from __future__ import annotations

import asyncio

import pytest

from vibe_prefect import UsageError
from vibe_prefect.budget import Budget, Spending, estimate_tokens
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
