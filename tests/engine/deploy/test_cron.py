"""Cron expressions: their next times, and what is said of those that are easily misread."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from vibe_prefect.engine.deploy.cron import read_cron

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)

REMARKED = [
    ("*/45 * * * *", "'*/45' is not every 45 minutes: each hour starts again, at minute 0, 45"),
    ("0 */5 * * *", "'*/5' is not every 5 hours: each day starts again, at hour 0, 5, 10, 15, 20"),
    ("0-59/7 * * * *", "'0-59/7' is not every 7 minutes"),
    ("*/60 * * * *", "'*/60' is once in each hour, at minute 0"),
    ("0 0 */2 * *", "'*/2' is not every 2 days across months"),
    ("0 0 13 * 5", "each day that either the day '13' or the weekday '5' names"),
    ("* 6 * * *", "'*' as the minute runs it every minute of the hour 6"),
    ("0 6 * * 1 30", "6 fields: the first is the minute, and the sixth the second"),
    ("0 6 31 * *", "a month without a day 31 is left out"),
]
PLAIN = ["0 6 * * 1", "*/15 * * * *", "0 */6 * * *", "@daily", "@Weekly", "* * * * *", "0 0 * * mon-fri", "0 0 L * *"]


@pytest.mark.parametrize(("cron", "remark"), REMARKED)
def test_cron_remarks_on_what_is_easily_misread(cron: str, remark: str) -> None:
    (said,) = read_cron(cron, "UTC", NOW).remarks
    assert re.search(re.escape(remark), said)


@pytest.mark.parametrize("cron", PLAIN)
def test_cron_says_nothing_of_plain_expressions(cron: str) -> None:
    assert read_cron(cron, "UTC", NOW).remarks == ()


def test_cron_times_are_in_the_zone_of_the_schedule() -> None:
    times = read_cron("30 0 * * *", "Asia/Kolkata", NOW).times
    assert [time.isoformat() for time in times] == [
        "2026-11-27T00:30:00+05:30",
        "2026-11-28T00:30:00+05:30",
        "2026-11-29T00:30:00+05:30",
    ]


def test_cron_times_keep_the_wall_clock_when_summer_time_ends() -> None:
    october = datetime(2026, 10, 24, 1, tzinfo=UTC)
    times = read_cron("0 6 * * *", "Europe/Berlin", october).times
    assert [time.isoformat() for time in times] == [
        "2026-10-24T06:00:00+02:00",
        "2026-10-25T06:00:00+01:00",
        "2026-10-26T06:00:00+01:00",
    ]
