"""What Prefect's texts, names and schedules mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

CACHED = "Cached"
"""Prefect's name of the state of a task run with a reused result."""


_RAISED = "Task run encountered an exception "
"""Prefix of Prefect's messages about an exception, before its type, in the state of a task run."""


def raised_text(message: str) -> str:
    """Return the text of an exception, out of the message of the state of a task run that it ended.

    Args:
        message: The message; returned as it is where it is about no exception.
    """
    if not message.startswith(_RAISED):
        return message
    return message.removeprefix(_RAISED).partition(": ")[2] or message


def is_console_handler(handler: logging.Handler) -> bool:
    """Return whether a handler of the log writes Prefect's own lines to the terminal.

    Args:
        handler: The handler.
    """
    from prefect.logging.handlers import PrefectConsoleHandler, _SafeStreamHandler  # pyright: ignore[reportPrivateUsage]

    return isinstance(handler, PrefectConsoleHandler | _SafeStreamHandler)


def cron_times(expression: str, after: datetime) -> Iterator[datetime]:
    """Yield the times of a cron expression as Prefect's server works them out; none where no date ever fits.

    Args:
        expression: The expression, valid for Prefect's `CronSchedule`.
        after: The time after which they come, without a zone.
    """
    reader: Any = import_module("prefect._vendor.croniter.croniter")
    times = reader.croniter(expression, after)
    with suppress(reader.CroniterBadDateError):
        while True:
            yield times.get_next(datetime)


_SCHEDULED = re.compile(r"scheduled ([0-9a-f-]{36}) ([0-9a-f-]{36}) ")
"""Beginning of the idempotency key that Prefect's server gives to a run that a schedule starts."""


def schedule_of(flow_run: FlowRun) -> tuple[UUID, UUID] | None:
    """Return the ids of the deployment and of its schedule that started a run; `None` where no schedule did.

    Args:
        flow_run: The run, as the server returns it.
    """
    match = _SCHEDULED.match(flow_run.idempotency_key or "")
    return (UUID(match[1]), UUID(match[2])) if match else None
