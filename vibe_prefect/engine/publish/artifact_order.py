"""The place of an artifact among those of its run.

Prefect's UI lists a run's artifacts by their ids, the highest first, and its server draws the ids at random. So an
artifact is created again until its id lies in the part that belongs to its place.
"""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate

FIRST_BYTE = 0xA0
"""Lowest first byte of the id of an artifact that comes first: the share of such ids makes the tries for one artifact
that comes first and three others the fewest, seven and a half on average."""

MAX_TRIES = 16
"""Artifacts created for one that is to come first; one in 1,800 stays where it happens to be."""

_RANDOM = 4
"""Version of the ids that are drawn at random; others are ordered by time, and drawing again changes nothing."""


async def create_ordered(client: PrefectClient, artifact: ArtifactCreate, *, first: bool) -> UUID:
    """Create an artifact, and return its id.

    Args:
        client: The server's client.
        artifact: The artifact.
        first: Whether it comes before those of its run that do not come first.
    """
    misplaced: UUID | None = None
    for _ in range(MAX_TRIES):
        id = (await client.create_artifact(artifact)).id
        if misplaced is not None:
            await client.delete_artifact(misplaced)
        if id.version != _RANDOM or (id.bytes[0] >= FIRST_BYTE) == first:
            return id
        misplaced = id
    assert misplaced is not None
    return misplaced
