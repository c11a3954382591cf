"""Finding and deleting plans beside the records that nothing needs any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prefect.client.orchestration import PrefectClient

from vibe_prefect.engine.inputs.option_group import ungrouped
from vibe_prefect.engine.inputs.plan_store import PLANS_FOLDER, kept_plan
from vibe_prefect.engine.listing import OUR_FLOW, paged
from vibe_prefect.engine.records.storage import RecordFolder
from vibe_prefect.engine.runs.resume_chains import read_runs, with_roots


@dataclass(frozen=True)
class UnusedPlan:
    """A plan beside the records that may be deleted."""

    path: Path
    """Its file."""

    bytes: int
    """Its size."""

    written: float
    """Time when a run or a deployment last wrote it, in seconds since 1970."""

    def delete(self) -> bool:
        """Delete it, unless a run or a deployment has written it meanwhile; returns whether it is gone.

        Raises:
            OSError: It cannot be deleted.
        """
        if self.path.lstat().st_mtime > self.written:
            return False
        self.path.unlink()
        return True


async def unused_plans(
    client: PrefectClient, files: RecordFolder, before: datetime, pruned: Collection[str]
) -> list[UnusedPlan]:
    """Find plans beside the records that are unused by deployments, by runs under way, and by runs with records.

    Args:
        client: The server's client.
        files: The folder of all records.
        before: Latest time at which a run or a deployment may have written them.
        pruned: Namespaces of records that are deleted too.
    """
    old_plans = [plan for plan in _plans_in(files.root) if plan.written <= before.timestamp()]
    if not old_plans:
        return []
    used = await _used_by_runs(client, files.root, pruned) | await _used_by_deployments(client)
    return [plan for plan in old_plans if plan.path.stem not in used]


async def _used_by_runs(client: PrefectClient, root: Path, pruned: Collection[str]) -> set[str]:
    used: set[str] = set()
    for run in await with_roots(client, await read_runs(client)):
        reference, namespace = run.outline.kept, run.record_namespace
        if reference is None:
            continue
        if not run.over or (namespace not in pruned and (root / namespace).is_dir()):
            used.add(reference.sha256)
    return used


async def _used_by_deployments(client: PrefectClient) -> set[str]:
    deployments = paged(lambda size, offset: client.read_deployments(flow_filter=OUR_FLOW, limit=size, offset=offset))
    references = [kept_plan(ungrouped(deployment.parameters).get("plan")) async for deployment in deployments]
    return {reference.sha256 for reference in references if reference}


def _plans_in(root: Path) -> Iterator[UnusedPlan]:
    folder = root / PLANS_FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            yield UnusedPlan(path, status.st_size, status.st_mtime)
