"""The options `--cron` and `--timezone`."""

from __future__ import annotations

import pytest

from vibe_prefect import UsageError
from vibe_prefect.cli.deploying.schedules import ScheduleOptions

WRONG = [
    ("", None, "--cron '' is not a schedule: expected minute, hour, day, month and weekday"),
    ("at noon", None, "--cron 'at noon' is not a schedule"),
    ("61 * * * *", "UTC", "--cron '61 .* is not a schedule"),
    ("0 6 * * 1", "Europe/Berln", "--timezone 'Europe/Berln' is not a time zone; did you mean 'Europe/Berlin'"),
    ("0 6 * * 1", "", "--timezone '' is not a time zone; expected a name such as"),
    ("0 0 6 ? * MON", None, "is not a schedule: .*; there is no field for seconds at the front"),
    ("@reboot", None, "is not a schedule: .*; of the words, @hourly, @daily, "),
    ("0 0 30 2 *", None, "--cron '0 0 30 2 .*' never comes: there is no such date"),
    ("0 0 31 4,6,9,11 *", None, "never comes"),
    ("0 0 1 1 * 0 2020", None, "never comes"),
    (None, "Europe/Berlin", "--timezone 'Europe/Berlin' is of --cron, which is not given"),
]


@pytest.mark.parametrize(("cron", "timezone", "message"), WRONG)
def test_what_is_no_schedule_is_refused(cron: str | None, timezone: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScheduleOptions(cron, timezone).reading()


def test_a_schedule_has_its_time_zone() -> None:
    assert ScheduleOptions(None, None).reading() is None
    for given, expected in ((None, "UTC"), ("Europe/Berlin", "Europe/Berlin")):
        made = ScheduleOptions("0 6 * * 1", given).reading()
        assert made is not None
        assert (made.schedule.cron, made.schedule.timezone) == ("0 6 * * 1", expected)
