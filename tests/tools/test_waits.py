"""Waits that an endpoint asks for: nothing fails, the calls wait together, and they come back one after the other."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vibe_prefect.errors import ToolError
from vibe_prefect.tools import waits
from vibe_prefect.tools.waits import asks_to_wait, attempt_clock, patiently, retry_after


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(waits, "LONGEST_PAUSE", 0.1)


class Limited:
    """An endpoint that lets so many calls through in a window of time."""

    def __init__(self, count: int, seconds: float, *, says_when: bool = True) -> None:
        self.count, self.seconds, self.says_when = count, seconds, says_when
        self.begun, self.used = 0.0, 0
        self.passed, self.refused = 0, 0

    async def __call__(self) -> int:
        now = time.monotonic()
        if now - self.begun >= self.seconds:
            self.begun, self.used = now, 0
        if self.used >= self.count:
            self.refused += 1
            raise refusal(self.seconds if self.says_when else None)
        self.used += 1
        self.passed += 1
        return self.passed


def refusal(seconds: float | None = None) -> ToolError:
    return ToolError("too many", retry_after=seconds, asks_to_wait=True)


@pytest.mark.parametrize("says_when", [True, False])
async def test_all_calls_of_a_fan_out_come_through(says_when: bool) -> None:
    limited = Limited(5, 0.2, says_when=says_when)
    made = await asyncio.gather(*(patiently("pictures", limited) for _ in range(60)))
    assert sorted(made) == list(range(1, 61))
    assert limited.refused < 60 + 60, "they come back gradually, and not all at once each time"


async def test_one_told_wait_holds_back_the_other_calls_of_that_endpoint_alone() -> None:
    begun: dict[str, float] = {}
    first = iter([refusal(0.4)])

    async def call(name: str) -> None:
        begun.setdefault(name, time.monotonic())
        error = next(first, None)
        if error is not None:
            raise error

    start = time.monotonic()
    limited = asyncio.create_task(patiently("a", lambda: call("limited")))
    await asyncio.sleep(0)
    await asyncio.gather(limited, patiently("a", lambda: call("held")), patiently("b", lambda: call("other")))
    assert begun["held"] - start >= 0.4
    assert begun["other"] - start < 0.4


async def test_after_a_wait_one_call_goes_first() -> None:
    under_way, order = 0, list[int]()
    first = [True]
    release = asyncio.Event()

    async def call() -> None:
        nonlocal under_way
        if first.pop() if first else False:
            raise refusal(0.05)
        under_way += 1
        order.append(under_way)
        await release.wait()
        under_way -= 1

    async with asyncio.TaskGroup() as group:
        group.create_task(patiently("a", call))
        await asyncio.sleep(0)
        for _ in range(7):
            group.create_task(patiently("a", call))
        async with asyncio.timeout(60):
            while not order:  # noqa: ASYNC110 - what begins is what is tested
                await asyncio.sleep(0.01)
        assert order == [1], "the others wait for what becomes of the first"
        release.set()
    assert len(order) == 8


async def test_what_is_no_wait_is_raised_at_once() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise ToolError("broken", retry_after=9.0)

    with pytest.raises(ToolError, match="broken"):
        await patiently("a", call)
    assert calls == 1


async def test_an_endpoint_that_lets_nothing_through_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MAX_WAITING", 0.3)
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise refusal(99_999.0)

    with pytest.raises(ToolError, match="too many; given up after it let nothing through for") as caught:
        await asyncio.wait_for(patiently("a", call), 60)
    assert calls == 2, "a wait is cut to what is waited at all, and the endpoint asked once more"
    assert caught.value.retryable


async def test_a_call_that_is_refused_again_and_again_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "MAX_WAITING", 0.5)

    async def poison() -> None:
        raise refusal(0.01)

    limited = Limited(5, 0.1)
    outcomes = await asyncio.gather(
        patiently("a", poison), *(patiently("a", limited) for _ in range(20)), return_exceptions=True
    )
    assert isinstance(outcomes[0], ToolError)
    assert limited.passed == 20


async def test_cancelling_ends_a_wait_at_once() -> None:
    async def call() -> None:
        raise refusal(600.0)

    waiting = asyncio.create_task(patiently("a", call))
    await asyncio.sleep(0.05)
    waiting.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - begun < 60


async def test_a_wait_is_reported_with_its_length_and_its_reason() -> None:
    told: list[Any] = []
    limited = Limited(1, 0.2)

    def report(fraction: float | None, message: str) -> None:
        told.append((fraction, message))

    context = {"report_progress": report}
    await patiently("a", limited, context)
    assert told == []
    await patiently("a", limited, context)
    assert told[0] == (None, "waiting 1 s: the endpoint asked for it")
    assert told[-1] == (None, "")


async def test_the_time_of_an_attempt_stands_still_while_it_waits() -> None:
    limited = Limited(1, 0.6)
    await limited()
    with attempt_clock(0.4):
        assert await patiently("a", limited) == 2


async def test_an_attempt_that_takes_too_long_without_a_wait_ends() -> None:
    with pytest.raises(TimeoutError), attempt_clock(0.05):
        await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "99999999"}, 3_600.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-5"}, None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "20ms",
                "x-ratelimit-remaining-tokens": "900",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            0.02,
        ),
        ({"x-ratelimit-reset": "1h2m3.5s"}, 3_600.0),
        ({"x-ratelimit-reset": "midnight"}, None),
    ],
)
def test_a_wait_is_read_in_every_form_that_servers_state_it(headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after(headers)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_wait_until_a_moment_is_read_in_every_form_that_servers_state_it() -> None:
    until = datetime.now(UTC) + timedelta(seconds=1_000)
    for headers in (
        {"retry-after": str(int(until.timestamp()))},
        {"retry-after": until.strftime("%a, %d %b %Y %H:%M:%S GMT")},
        {"x-ratelimit-reset": until.isoformat()},
    ):
        assert retry_after(headers) == pytest.approx(1_000, abs=120), headers


@pytest.mark.parametrize(
    ("status", "wait", "asks"),
    [(429, None, True), (429, 1.0, True), (503, None, False), (503, 1.0, True), (529, 1.0, True), (500, 1.0, False)],
)
def test_a_refusal_for_now_is_told_apart_from_a_failure(status: int, wait: float | None, asks: bool) -> None:
    assert asks_to_wait(status, wait) is asks
