"""What is refused before a run whose nodes ask for a cluster."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.plans import node, plan
from vibe_prefect import compile_plan
from vibe_prefect.engine.placements import cluster_checks
from vibe_prefect.engine.placements.cluster_checks import check_clusters
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.errors import UsageError
from vibe_prefect.settings.placements import PlacementSettings


def absent(_: str) -> None:
    """No module is installed."""


def present(name: str) -> object:
    """Each module is installed."""
    return name


@pytest.fixture
def free_address() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def check(settings: dict[str, Any], folder: Path, run_on: str | None = "farm") -> None:
    read = {"tool": "read_text", "tool_inputs": {"path": "a.txt"}}
    compiled = compile_plan(plan(node("a", parameters=read)))
    records = Records(await open_store(folder / "records"), str(uuid4()))
    await check_clusters(compiled, {"farm": PlacementSettings.model_validate(settings)}, run_on, records)


async def test_cluster_whose_library_is_missing_is_refused_with_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_checks, "find_spec", absent)
    with pytest.raises(UsageError, match=r"nothing was run: .*'farm' needs prefect_ray.*'vibe-prefect\[ray\]'"):
        await check({"kind": "ray"}, folder)
    await check({"kind": "ray"}, folder, run_on=None)  # no node asks for it
    await check({"kind": "process"}, folder)


@pytest.mark.parametrize("kind", ["dask", "ray"])
async def test_cluster_that_does_not_answer_is_refused_with_its_address(
    kind: str, folder: Path, free_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_checks, "find_spec", present)
    with pytest.raises(UsageError, match=f"cannot be reached at {free_address}.*set its `address`"):
        await check({"kind": kind, "address": free_address, "shares_files": True}, folder)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        await check({"kind": kind, "address": address, "shares_files": True}, folder)
    await check({"kind": kind}, folder)


async def test_cluster_that_does_not_see_the_folders_of_the_run_is_refused(
    folder: Path, free_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_checks, "find_spec", present)
    with pytest.raises(UsageError, match=r"the records are in the folder .*records.*set its `shares_files` to true"):
        await check({"kind": "dask", "address": free_address}, folder)
