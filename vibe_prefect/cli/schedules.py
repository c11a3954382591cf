"""The options `--cron` and `--timezone`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_prefect.cli.console import Screen
from vibe_prefect.cli.exits import warn
from vibe_prefect.errors import UsageError

if TYPE_CHECKING:
    from vibe_prefect.engine.cron import CronReading

DEFAULT_ZONE = "UTC"


def schedule_of(cron: str | None, timezone: str | None) -> CronReading | None:
    """Return the schedule that the options ask for.

    Raises:
        UsageError: One of them is wrong, or there is a time zone for no schedule.
    """
    if cron is None:
        if timezone is not None:
            raise UsageError(f"--timezone {timezone!r} is of --cron, which is not given, as in --cron '0 6 * * 1'")
        return None
    from vibe_prefect.engine.cron import read_cron

    return read_cron(cron, DEFAULT_ZONE if timezone is None else timezone)


def print_schedule(screen: Screen, reading: CronReading | None) -> None:
    """Print the next times of a schedule, and warn of what is easily taken for something else."""
    if reading is None:
        return
    times = ", ".join(f"{time:%a %Y-%m-%d %H:%M:%S}".removesuffix(":00") for time in reading.times)
    screen.say(f"due      {times} ({reading.schedule.timezone})")
    for remark in reading.remarks:
        warn(f"--cron {reading.schedule.cron!r}: {remark}")
