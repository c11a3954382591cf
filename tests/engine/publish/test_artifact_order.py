"""The order of a run's artifacts as Prefect's UI lists them: by their ids, the highest first."""

from __future__ import annotations

from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectNotFound

from vibe_prefect.engine.prefect_seam.clients import delete_once
from vibe_prefect.engine.publish import artifact_order
from vibe_prefect.engine.publish.artifact_order import create_ordered

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


async def test_a_refused_delete_is_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: set[str] = set()

    async def delete(client: PrefectClient, path: str) -> int:
        if path in refused:
            return await delete_once(client, path)
        refused.add(path)
        return 503

    monkeypatch.setattr(artifact_order, "delete_once", delete)
    async with get_client() as client:
        while not refused:  # until an id was drawn that does not fit
            await create_ordered(client, ArtifactCreate(key="again", type="markdown", data="x"))
        for path in refused:
            with pytest.raises(ObjectNotFound):
                await client.delete_artifact(UUID(path.rpartition("/")[2]))


async def test_an_artifact_stays_where_it_is_while_the_server_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_order, "SLOW_SECONDS", 0.0)
    created: list[UUID] = []
    async with get_client() as client:
        create = client.create_artifact

        async def counted(artifact: ArtifactCreate) -> Artifact:
            made = await create(artifact)
            created.append(made.id)
            return made

        monkeypatch.setattr(client, "create_artifact", counted)
        artifact = ArtifactCreate(key="slow", type="markdown", data="x")
        kept = [await create_ordered(client, artifact) for _ in range(8)]
    assert created == kept


async def test_outputs_come_first_of_the_artifacts_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_order, "SLOW_SECONDS", 60.0)
    keys = [f"order-{name}" for name in "abcdefgh"]
    async with get_client() as client:
        first = await create_ordered(client, ArtifactCreate(key=keys[3], type="markdown", data=keys[3]))
        for key in keys[:3] + keys[4:]:
            await create_ordered(client, ArtifactCreate(key=key, type="markdown", data=key), first)
        listed = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys)), sort=ArtifactSort.ID_DESC
        )
    assert listed[0].key == keys[3]
    assert sorted(str(artifact.key) for artifact in listed) == keys, "of each there is one"
