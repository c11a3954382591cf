"""The options `--cron` and `--timezone`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_prefect.errors import UsageError

if TYPE_CHECKING:
    from prefect.schedules import Schedule

DEFAULT_ZONE = "UTC"


def schedule_of(cron: str | None, timezone: str | None) -> Schedule | None:
    """Return the schedule that the options ask for.

    Raises:
        UsageError: One of them is wrong, or there is a time zone for no schedule.
    """
    if cron is None:
        if timezone is not None:
            raise UsageError(f"--timezone {timezone!r} is of --cron, which is not given, as in --cron '0 6 * * 1'")
        return None
    from vibe_prefect.engine.deployments import cron_schedule

    return cron_schedule(cron, DEFAULT_ZONE if timezone is None else timezone)
