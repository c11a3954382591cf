"""The place of an artifact among those of its run.

Prefect's UI lists a run's artifacts by their ids, the highest first, and its server draws the ids at random. So an
artifact is created again until its id lies in the part that belongs to its place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate

from vibe_prefect.engine.prefect_seam.clients import delete_once

MIDDLE = UUID(int=1 << 127)
"""Lowest id of an artifact that comes first. Half of all ids are higher, so such an artifact and three below it take
six tries on average, which is nearly the fewest."""

MAX_TRIES = 16
"""Artifacts created for one that is to come first; one in 65,000 stays where it happens to be."""

SLOW_SECONDS = 1.0
"""Seconds of one creation after which an artifact stays where it happens to be if somebody waits for it: a server that
still takes in the task runs of a large run needs seconds for each request."""

MAX_DELETE_TRIES = 20
DELETE_PAUSE = 0.05
"""Quick tries to delete an artifact, and seconds between them."""

_RANDOM = 4
"""Version of the ids that are drawn at random; others are ordered by time, and drawing again changes nothing."""


async def create_ordered(
    client: PrefectClient,
    artifact: ArtifactCreate,
    after: UUID | None = None,
    in_haste: Callable[[], bool] = lambda: True,
) -> UUID:
    """Create an artifact, and return its id.

    Args:
        client: The server's client.
        artifact: The artifact.
        after: Id of the artifact that it is listed after; `None` for the one that comes first.
        in_haste: Returns whether somebody waits for it.
    """
    misplaced: list[UUID] = []
    for _ in range(MAX_TRIES):
        begun = time.monotonic()
        id = (await client.create_artifact(artifact)).id
        is_slow = time.monotonic() - begun >= SLOW_SECONDS and in_haste()
        if is_slow or id.version != _RANDOM or (id >= MIDDLE if after is None else id < after):
            break
        misplaced.append(id)
    else:
        id = misplaced.pop()
    if misplaced:
        await delete_artifacts(client, misplaced)
    return id


async def delete_artifacts(client: PrefectClient, ids: Iterable[UUID]) -> None:
    """Delete artifacts. With SQLite a server answers 503 while it writes something else, which is over at once.

    Prefect's client would wait two seconds before it asks again, and the run with it.
    """
    for id in ids:
        status = 0
        for _ in range(MAX_DELETE_TRIES):
            status = await delete_once(client, f"/artifacts/{id}")
            if status != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(DELETE_PAUSE)
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            await client.delete_artifact(id)
