"""Cron expressions: their next times, and remarks where they mean something else than they seem to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.schemas.schedules import CronSchedule
from prefect.schedules import Schedule

from vibe_prefect.engine.prefect_seam.meanings import cron_times
from vibe_prefect.errors import UsageError, did_you_mean, shorten

SHOWN = 3
"""Number of next times to work out."""

FIELDS = 5
_EXPECTED = "expected minute, hour, day, month and weekday, as in '0 6 * * 1'"
_STEP = re.compile(r"(?:\*|0-59|0-23)/(\d+)")
_ANY = ("*", "?")
_SIZES = ((0, "minute", "hour", 60), (1, "hour", "day", 24))
"""Index of a field, its unit, the period in which it starts again, and the number of units in the period."""


@dataclass(frozen=True)
class CronReading:
    """A cron expression as Prefect's server understands it."""

    schedule: Schedule
    """The schedule for a deployment."""

    times: tuple[datetime, ...]
    """The next times, in the schedule's zone."""

    remarks: tuple[str, ...]
    """Remarks on parts that are easily misread, one sentence each."""


def read_cron(cron: str, timezone: str, now: datetime | None = None) -> CronReading:
    """Read a cron expression.

    Args:
        cron: The expression: five fields, or a word such as `@daily`.
        timezone: The IANA name of its time zone.
        now: The moment after which the next times come; by default this one.

    Raises:
        UsageError: The expression or the time zone is not valid, or the expression matches no date.
    """
    if timezone not in available_timezones():
        hint = did_you_mean(timezone, available_timezones()) or "; expected a name such as 'Europe/Berlin'"
        raise UsageError(f"--timezone {shorten(timezone)} is not a time zone{hint}")
    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValueError:
        raise UsageError(f"--cron {shorten(cron)} is not a schedule: {_EXPECTED}{_hint(cron)}") from None
    zone = ZoneInfo(timezone)
    start = (now or datetime.now(zone)).astimezone(zone).replace(tzinfo=None)
    times = tuple(time.replace(tzinfo=zone) for time in islice(cron_times(cron, start), SHOWN))
    if not times:
        raise UsageError(f"--cron {shorten(cron)} never comes: there is no such date; {_EXPECTED}")
    return CronReading(Schedule(cron=cron, timezone=timezone), times, tuple(_remarks(cron.split())))


def _hint(cron: str) -> str:
    if cron.strip().startswith("@"):
        return "; of the words, @hourly, @daily, @weekly, @monthly and @yearly are understood"
    if len(cron.split()) > FIELDS:
        return "; there is no field for seconds at the front"
    return ""


def _remarks(fields: list[str]) -> Iterator[str]:
    if len(fields) < FIELDS:  # a word such as @daily
        return
    if len(fields) > FIELDS:
        yield f"{len(fields)} fields: the first is the minute, and the sixth the second, not the other way round"
    for index, unit, period, size in _SIZES:
        step = _STEP.fullmatch(fields[index])
        if step and size % int(step[1]):
            starts = ", ".join(map(str, range(0, size, int(step[1]))))
            yield f"{fields[index]!r} is not every {step[1]} {unit}s: each {period} starts again, at {unit} {starts}"
        elif step and int(step[1]) >= size:
            yield f"{fields[index]!r} is once in each {period}, at {unit} 0: a step does not reach beyond the {period}"
    minute, hour, day, _, weekday = fields[:FIELDS]
    if minute == "*" and hour not in _ANY:
        yield f"'*' as the minute runs it every minute of the hour {hour}; for once in the hour, write 0"
    if step := re.fullmatch(r"(?:\*|1-31)/(\d+)", day):
        yield f"{day!r} is not every {step[1]} days across months: each month starts again on its first day"
    if day not in _ANY and weekday not in _ANY:
        yield f"it comes on each day that either the day {day!r} or the weekday {weekday!r} names, not both alone"
    if re.fullmatch(r"29|30|31", day) and weekday in _ANY:
        yield f"a month without a day {day} is left out; 'L' is the last day of each month"
