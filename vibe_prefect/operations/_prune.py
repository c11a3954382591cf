"""Deletion of old runs' records and output folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.client.orchestration import get_client

from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.plan_pruning import UnusedPlan, unused_plans
from vibe_prefect.engine.runs.pruning import Kept, Remains, delete, find_remains, folder_of


@dataclass(frozen=True)
class Pruned:
    """Records and folders that pruning deleted, or would delete."""

    deleted: Sequence[Remains]
    """Records to prune, and output folders where these were asked for."""

    kept: Sequence[Kept]
    """Records that are as old and stay, each with the reason."""

    failures: Sequence[str] = ()
    """Failed deletions, each with the reason."""

    plans: Sequence[UnusedPlan] = ()
    """Stored plans that no run needs any more."""

    @property
    def bytes(self) -> int:
        """Size of all of it."""
        return sum(remains.bytes for remains in self.deleted) + sum(plan.bytes for plan in self.plans)


async def prune(
    older_than: timedelta, *, outputs: bool = False, dry_run: bool = False, storage: str | Path | None = None
) -> Pruned:
    """Delete the records of old runs. Resuming such a run afterwards runs, and pays for, all of its nodes again.

    Records of unfinished runs, and of the runs that they resume, stay.

    Args:
        older_than: Time since the last activity of a run.
        outputs: Whether the runs' own output folders are deleted too.
        dry_run: Whether to delete nothing, and only return what would be deleted.
        storage: Where records are kept; by default as the settings say.

    Raises:
        UsageError: The records are in a storage block, whose own tools delete old ones.
    """
    store = await open_store(storage)
    files = folder_of(store)
    before = datetime.now(UTC) - older_than
    async with get_client() as client:
        obsolete, retained = await find_remains(client, files, before, outputs=outputs)
        plans = await unused_plans(client, files, before, {remains.namespace for remains in obsolete})
    if dry_run:
        return Pruned(obsolete, retained, (), plans)
    deleted: list[Remains] = []
    failures: list[str] = []
    for remains in obsolete:
        try:
            refusal = delete(store, remains)
        except OSError as error:
            failures.append(f"cannot delete all of {remains.title}: {error}")
            continue
        if refusal is None:
            deleted.append(remains)
        else:
            retained.append(refusal)
    return Pruned(deleted, retained, failures, _deleted(plans, failures) if len(deleted) == len(obsolete) else [])


def _deleted(plans: Sequence[UnusedPlan], failures: list[str]) -> list[UnusedPlan]:
    deleted: list[UnusedPlan] = []
    for plan in plans:
        try:
            deleted += [plan] if plan.delete() else []
        except OSError as error:
            failures.append(f"cannot delete the kept plan {plan.path}: {error}")
    return deleted
