"""The order of a run's artifacts as Prefect's UI lists them: by their ids, the highest first."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from vibe_prefect.engine.publish.artifact_order import create_ordered

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


async def test_outputs_come_first_of_the_artifacts_of_a_run() -> None:
    keys = [f"order-{name}" for name in "abcdefgh"]
    async with get_client() as client:
        for key in keys:
            await create_ordered(client, ArtifactCreate(key=key, type="markdown", data=key), first=key == keys[3])
        listed = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys)), sort=ArtifactSort.ID_DESC
        )
    assert listed[0].key == keys[3]
    assert sorted(str(artifact.key) for artifact in listed) == keys, "of each there is one"
