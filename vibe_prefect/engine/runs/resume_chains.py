"""Runs of plans, each with the first run of its resume chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName

from vibe_prefect.engine.listing import PAGE, RUNS_PAGE, plan_runs
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.runs.resume_target import MAX_CHAIN, due_by_now


class ResumeChains:
    """Runs with their links to the runs that they resume."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, PastRun] = {}
        self._by_name: dict[str, list[PastRun]] = {}
        self._asked: set[str] = set()

    def __iter__(self) -> Iterator[PastRun]:
        """Yield all runs, each with its root."""
        return map(self.with_root, self._by_id.values())

    def add(self, runs: Iterable[PastRun]) -> None:
        """Add runs, except those that are known already."""
        for run in runs:
            if run.id not in self._by_id:
                self._by_id[run.id] = run
                self._by_name.setdefault(run.name, []).append(run)

    async def complete(self, client: PrefectClient) -> None:
        """Ask the server for the runs that others resume, as far back as it knows them."""
        for _ in range(MAX_CHAIN):
            runs = self._by_id.values()
            resumed = ((run, run.parameters.resume_from) for run in runs)
            missing = {reference for run, reference in resumed if reference and self._earlier(run) is None}
            missing -= self._asked
            if not missing:
                return
            self._asked |= missing
            self.add(await _referred(client, sorted(missing)))

    def with_root(self, run: PastRun) -> PastRun:
        """Return a run with the first run of its resume chain, as far as the server knows it."""
        visited_ids = {run.id}
        root = run
        while root.parameters.resume_from:
            earlier = self._earlier(root)
            if earlier is None or earlier.id in visited_ids:
                return replace(run, root_id=_as_id(root.parameters.resume_from) or root.id)
            visited_ids.add(earlier.id)
            root = earlier
        return replace(run, root=root, root_id=root.id)

    def _earlier(self, run: PastRun) -> PastRun | None:
        reference = run.parameters.resume_from or ""
        id = _as_id(reference)
        if id is not None:
            return self._by_id.get(id)
        named = [namesake for namesake in self._by_name.get(reference, ()) if namesake.created <= run.created]
        return max(named, key=lambda namesake: namesake.created, default=None)


async def with_roots(client: PrefectClient, runs: Iterable[PastRun]) -> ResumeChains:
    """Return runs and all that they resume, each with its root, as far as the server knows them.

    Args:
        client: The server's client.
        runs: The runs.
    """
    chains = ResumeChains()
    chains.add(runs)
    await chains.complete(client)
    return chains


async def read_runs(client: PrefectClient, limit: int | None = None) -> list[PastRun]:
    """Return the runs of plans with the outlines of their plans, newest first.

    Args:
        client: The server's client.
        limit: Largest number of runs that have begun or are due; `None` for all, also those scheduled for later.
    """
    runs: dict[UUID, PastRun] = {}
    nodes: dict[frozenset[str], frozenset[str]] = {}
    due = None if limit is None else await due_by_now(client)
    async for run in plan_runs(client, due, limit=limit):
        runs.setdefault(run.id, run.outlined(nodes))
    return list(runs.values())


async def _referred(client: PrefectClient, references: Sequence[str]) -> list[PastRun]:
    """Return the runs that names and ids stand for, as far as the server knows them."""
    runs: list[PastRun] = []
    for start in range(0, len(references), RUNS_PAGE):
        part = references[start : start + RUNS_PAGE]
        ids = [id for reference in part if (id := _as_id(reference))]
        names = [reference for reference in part if not _as_id(reference)]
        if ids:  # of any flow: a run is resumed by its id whatever its flow is called
            by_id = FlowRunFilter(id=FlowRunFilterId(any_=ids))
            runs += map(PastRun.of, await client.read_flow_runs(flow_run_filter=by_id, limit=PAGE))
        if names:
            by_name = FlowRunFilter(name=FlowRunFilterName(any_=names))
            runs += [run async for run in plan_runs(client, by_name, limit=PAGE, children=True)]
    return [run.outlined() for run in runs]


def _as_id(reference: str | None) -> UUID | None:
    try:
        return UUID(reference)
    except (TypeError, ValueError):
        return None
