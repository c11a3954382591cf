"""The options `--cron`, `--timezone` and `--no-cron`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vibe_prefect.cli.display.console import Screen
from vibe_prefect.cli.exits import warn
from vibe_prefect.errors import UsageError

if TYPE_CHECKING:
    from vibe_prefect.engine.deploy.cron import CronReading

DEFAULT_ZONE = "UTC"


@dataclass(frozen=True)
class ScheduleOptions:
    """Schedule of a deployment, as the user states it."""

    cron: str | None
    timezone: str | None
    no_cron: bool = False
    """Whether the deployment's schedules are removed."""

    def reading(self) -> CronReading | None:
        """Return the schedule that the options ask for; `None` to keep the schedules of the deployment, or none.

        Raises:
            UsageError: An option is wrong, or there is a time zone without a schedule.
        """
        if self.cron is None:
            if self.timezone is not None:
                raise UsageError(
                    f"--timezone {self.timezone!r} is of --cron, which is not given, as in --cron '0 6 * * 1'"
                )
            return None
        if self.no_cron:
            raise UsageError("--cron and --no-cron say opposite things: give one of them")
        from vibe_prefect.engine.deploy.cron import read_cron

        return read_cron(self.cron, DEFAULT_ZONE if self.timezone is None else self.timezone)


def print_schedule(screen: Screen, reading: CronReading | None) -> None:
    """Print the next times of a schedule, and warn of an expression that is easily misread."""
    if reading is None:
        return
    times = ", ".join(f"{time:%a %Y-%m-%d %H:%M:%S}".removesuffix(":00") for time in reading.times)
    screen.say(f"due      {times} ({reading.schedule.timezone})")
    for remark in reading.remarks:
        warn(f"--cron {reading.schedule.cron!r}: {remark}")
