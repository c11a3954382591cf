"""Checks before a run of the clusters that its nodes run on: the library, the address, and the files that both see."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from vibe_prefect.engine.placements.placement_checks import placement_of
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import RecordFolder
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.settings.placements import PlacementKind, PlacementSettings

ANSWER_SECONDS = 5.0
"""Seconds in which the address of a cluster has to take a connection."""

_LIBRARIES = {PlacementKind.DASK: "prefect_dask", PlacementKind.RAY: "prefect_ray"}
"""The library that a kind of clusters needs; the extra that installs it has the name of the kind."""


async def check_clusters(
    compiled: CompiledPlan, placements: Mapping[str, PlacementSettings], run_on: str | None, records: Records
) -> None:
    """Refuse a run before its first node where a cluster that it needs cannot do its work.

    Args:
        compiled: The plan.
        placements: The placements that the operator has named.
        run_on: The placement of all nodes of the run; `None` where the plan decides.
        records: Records of the run.

    Raises:
        UsageError: The library of a cluster is missing, its address takes no connection, or it does not see the files
            of the run.
    """
    used = sorted({placement_of(node, run_on) for node in compiled.nodes.values()} & placements.keys())
    clusters = {name: placements[name] for name in used if placements[name].kind in _LIBRARIES}
    problems = [
        f"the placement {name!r} {problem}"
        for name, settings in clusters.items()
        if (problem := await _problem(settings, records)) is not None
    ]
    if problems:
        raise UsageError(f"nothing was run: {'; '.join(problems)}")


async def _problem(settings: PlacementSettings, records: Records) -> str | None:
    library = _LIBRARIES[settings.kind]
    if find_spec(library) is None:
        return f"needs {library}, which is not installed: pip install 'vibe-prefect[{settings.kind}]'"
    if settings.address is None:
        return None
    if not settings.shares_files:
        storage = records.store.result_storage
        where = f"the folder {storage.root}" if isinstance(storage, RecordFolder) else "a storage block"
        return (
            f"is a cluster at {settings.address}, and the records are in {where}, beside the run's output and input "
            "folders, which its machines may not see: mount these folders there under the same paths and set its "
            "`shares_files` to true, or use a placement of the kind deployment"
        )
    return await _unreachable(settings.address)


async def _unreachable(address: str) -> str | None:
    """Return the reason why an address takes no connection; `None` where it does, or names no port to connect to."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"has the address {address!r}, which is not valid ({error}): set it as host:port"
    if host is None or port is None:
        return None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return f"cannot be reached at {address}: {error or 'no answer'}; start its cluster, or set its `address`"
    writer.close()
    return None
