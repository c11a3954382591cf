"""Waits that the other side asks for: the calls to one endpoint wait together, and it costs no retry.

Prefect's retries are the only retry loop. This is no second one: a call that was refused with HTTP 429 did not fail,
it has not been made yet. Counted as an attempt, a fan-out of sixty pictures at five a minute uses up the retries of
most of its nodes while nothing is wrong. So the wait happens here, before the call counts, and in one place for all
tools: a wait asked of one of them holds back the others of the same endpoint, and afterwards one call goes first, then
two, then four, so that they do not all come back at once.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from vibe_prefect.errors import ToolError

if TYPE_CHECKING:
    import asyncio

    import anyio

logger = logging.getLogger(__name__)

MAX_WAIT = 3_600.0
"""The longest wait that an answer's headers are believed, in seconds."""

MAX_WAITING = 900.0
"""Seconds after which a call gives up when its endpoint has let no call through in the meantime. It then fails as an
attempt of its node. Each single wait is cut to this, too, and so is a retry's wait for the endpoint."""

FIRST_PAUSE = 1.0
"""Seconds of the first wait where the other side does not say how long; each further one takes twice as long."""

LONGEST_PAUSE = 60.0
"""Seconds of the longest wait where the other side does not say how long."""

TRUSTED = 3
"""Refusals in a row after which the growing pauses hold, too, where the other side asks for shorter ones."""

MANY = 64
"""Calls at once from which on an endpoint that asked to wait counts as open again."""

MAX_JITTER = 1.0
"""Seconds that a wait may be longer than asked for, so that several processes do not come back at once."""

TOO_MANY_REQUESTS = 429
UNAVAILABLE = (503, 529)
"""Statuses that ask to wait only where they also say how long: 503, and 529, which Anthropic sends when overloaded."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_LIMITS = ("", "-requests", "-tokens")
_MANY_SECONDS = 1_000_000_000
"""A reset of so many seconds is a point in time since 1970."""

T = TypeVar("T")


class Headers(Protocol):
    """The headers of an answer, of any HTTP client."""

    def get(self, key: str, /) -> str | None:
        """Return a header."""
        ...


def asks_to_wait(status: int, wait: float | None) -> bool:
    """Tell whether an answer does nothing but ask to come back later.

    Args:
        status: The HTTP status.
        wait: The wait that its headers ask for; see `retry_after`.
    """
    return status == TOO_MANY_REQUESTS or (status in UNAVAILABLE and wait is not None)


def retry_after(headers: Headers) -> float | None:
    """Return how many seconds a server asks to wait, at most `MAX_WAIT`; `None` where it does not say so.

    `retry-after-ms`, as OpenAI and Azure send it; then `Retry-After`, a number of seconds or a date (RFC 9110, section
    10.2.3); then the `x-ratelimit-reset` headers of what is used up.
    """
    millis = _number(headers.get("retry-after-ms"))
    stated = millis / 1_000 if millis is not None else _moment(headers.get("retry-after"))
    wait = stated if stated is not None else _reset(headers)
    return None if wait is None else min(max(0.0, wait), MAX_WAIT)


def _reset(headers: Headers) -> float | None:
    """Return the longest time until a limit is there again, of the limits that are not known to be open."""
    resets = [
        _moment(headers.get(f"x-ratelimit-reset{limit}"))
        for limit in _LIMITS
        if not _number(headers.get(f"x-ratelimit-remaining{limit}"))
    ]
    return max((reset for reset in resets if reset is not None), default=None)


def _moment(stated: str | None) -> float | None:
    """Return the seconds until what a header states: seconds, `6m0s`, a date, or seconds since 1970."""
    text = (stated or "").strip()
    number = _number(text)
    if number is not None:
        return number if number < _MANY_SECONDS else number - time.time()
    if _DURATION.fullmatch(text):
        return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
    return _until(text) if text else None


def _number(stated: str | None) -> float | None:
    try:
        number = float(stated or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(date: str) -> float | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(date)
        except (ValueError, OverflowError):  # not written this way: as if it had not been said
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - datetime.now(UTC)).total_seconds()
    return None


async def patiently(endpoint: str, call: Callable[[], Awaitable[T]], context: Mapping[str, Any] | None = None) -> T:
    """Make a call, and make it again when the endpoint only asks to come back later.

    The wait is as long as the other side asks for, or grows from `FIRST_PAUSE` to `LONGEST_PAUSE` where it does not
    say. Until then no other call to that endpoint begins. The time does not count for the node's own timeout.
    Cancelling ends it at once.

    Args:
        endpoint: A name for what answers: the address, and the model where there is one.
        call: Makes the call; it raises a `ToolError` with `asks_to_wait` when it was only asked to wait.
        context: The tool's context, to report the wait to.

    Raises:
        ToolError: Whatever the call raises otherwise; or the endpoint let nothing through for `MAX_WAITING` seconds.
    """
    gates = _gates.setdefault(_running_loop(), {})
    gate = gates.setdefault(endpoint, _Gate(endpoint))
    report = (context or {}).get("report_progress") or _ignore
    began = time.monotonic()
    while True:
        turn = await gate.enter(began, report)
        try:
            result = await call()
        except ToolError as error:
            if not error.asks_to_wait:
                gate.passed(turn)
                raise
            gate.refused(turn, error)
        else:
            gate.passed(turn)
            return result
        finally:
            gate.leave(turn)


def _ignore(fraction: float | None, message: str) -> None:
    """Report to nobody."""


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # here and below: describing the tools that wait does not need it

    return asyncio.get_running_loop()


def _new_event() -> asyncio.Event:
    import asyncio

    return asyncio.Event()


@dataclass
class _Gate:
    """State of one endpoint, within one event loop. Times are those of the monotonic clock."""

    endpoint: str
    """Its name."""

    opens_at: float = 0.0
    """Time from which calls may begin again."""

    at_once: float = math.inf
    """Calls that may be under way at once."""

    turn: int = 0
    """Count of the waits: the outcome of a call that began before the last wait says nothing about now."""

    under_way: int = 0
    """Calls of this turn that are under way."""

    refusals: int = 0
    """Number of times in a row that the endpoint asked to wait."""

    refusal: ToolError | None = None
    """Its last such answer."""

    passed_at: float = -math.inf
    """Time when it last answered a call."""

    changed: asyncio.Event = field(default_factory=_new_event)
    """Set when a call ends."""

    async def enter(self, began: float, report: Callable[[float | None, str], None]) -> int:
        """Wait until a call may begin, count it, and return its turn."""
        self._check_patience(began)
        if not self._is_open():
            with paused_clock():
                await self._wait(began, report)
            report(None, "")
        self.under_way += 1
        return self.turn

    async def _wait(self, began: float, report: Callable[[float | None, str], None]) -> None:
        from anyio import move_on_after

        announced = 0.0
        while not self._is_open():
            remaining_seconds = self.opens_at - time.monotonic()
            if remaining_seconds > 0:  # else a call is under way that tells more
                self._check_patience(began)
            if remaining_seconds > 0 and self.opens_at != announced:
                announced = self.opens_at
                report(None, f"waiting {math.ceil(remaining_seconds)} s: the endpoint asked for it")
                logger.info("Waiting %.1f s, as %s asked for it", remaining_seconds, self.endpoint)
            with move_on_after(remaining_seconds if remaining_seconds > 0 else None):
                await self.changed.wait()

    def leave(self, turn: int) -> None:
        """Note that a call is not under way any more."""
        if turn == self.turn:
            self.under_way -= 1
        self.changed.set()
        self.changed = _new_event()

    def passed(self, turn: int) -> None:
        """Note that the endpoint let a call through: more of them may be under way at once."""
        self.passed_at = time.monotonic()
        if turn == self.turn:
            self.refusals, self.refusal = 0, None
            self.at_once = self.at_once * 2 if self.at_once < MANY else math.inf

    def refused(self, turn: int, error: ToolError) -> None:
        """Note that the endpoint asked to wait: afterwards one call goes first."""
        self.refusal = error
        if turn == self.turn:
            self.turn += 1
            self.refusals += 1
            self.under_way = 0
        pause = self._pause(error.retry_after)
        pause += random.uniform(0, min(MAX_JITTER, pause / 4))  # noqa: S311 - no secret hangs on it
        self.opens_at = max(self.opens_at, time.monotonic() + pause)
        self.at_once = 1

    def _pause(self, stated: float | None) -> float:
        """Return the seconds to wait, from the seconds that the endpoint stated, if any."""
        grown = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.refusals - 1, 10))
        pause = stated or grown
        return min(MAX_WAITING, max(pause, grown) if self.refusals > TRUSTED else pause)

    def _is_open(self) -> bool:
        return self.under_way < self.at_once and time.monotonic() >= self.opens_at

    def _check_patience(self, began: float) -> None:
        """Give a call up when the endpoint has let nothing through for too long.

        Raises:
            ToolError: It is so; it says what the endpoint said last.
        """
        idle = time.monotonic() - max(began, self.passed_at)
        if self.refusal is not None and idle >= MAX_WAITING:
            message = f"{self.refusal}; given up after it let nothing through for {idle:.0f} s"
            raise ToolError(message, retry_after=self.refusal.retry_after)


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Gate]] = WeakKeyDictionary()


class Clock(Protocol):
    """The time of an attempt, which can stand still."""

    def pause(self) -> None:
        """Let it stand still; as often as it is paused, it has to be resumed."""
        ...

    def resume(self) -> None:
        """Resume it with the time that was left."""
        ...


class AttemptClock:
    """The time that an attempt at a node may take; it stands still while an endpoint makes the attempt wait."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._pauses = 0
        self._left = math.inf

    def pause(self) -> None:
        """Let it stand still; as often as it is paused, it has to be resumed."""
        if not self._pauses:
            self._left = self._scope.deadline - _running_loop().time()
            self._scope.deadline = math.inf
        self._pauses += 1

    def resume(self) -> None:
        """Resume it with the time that was left."""
        self._pauses -= 1
        if not self._pauses:
            self._scope.deadline = _running_loop().time() + self._left


_clock: ContextVar[Clock | None] = ContextVar("vibe_prefect_attempt_clock", default=None)


def current_clock() -> Clock | None:
    """Return the clock of the attempt that is made here; `None` outside of attempts, and where they have no limit."""
    return _clock.get()


@contextmanager
def kept_by(clock: Clock) -> Generator[None]:
    """Have the time of the attempt in the block kept by a clock, such as that of the process of the run."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


@contextmanager
def attempt_clock(seconds: float | None) -> Generator[None]:
    """Bound what happens in the block to so many seconds, waits for endpoints apart.

    Raises:
        TimeoutError: It took longer.
    """
    if seconds is None:
        yield
        return
    from anyio import fail_after

    with fail_after(seconds) as scope:
        token = _clock.set(AttemptClock(scope))
        try:
            yield
        finally:
            _clock.reset(token)


@contextmanager
def paused_clock() -> Generator[None]:
    """Let the attempt's time stand still during the block."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.pause()
    try:
        yield
    finally:
        clock.resume()
