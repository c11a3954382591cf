"""The files of a run as Prefect assets, with the files that they were made from."""

from __future__ import annotations

from pathlib import Path

from prefect.assets import Asset, AssetProperties
from prefect.context import AssetContext
from prefect.states import Completed

from vibe_prefect.reporting.media import local_files
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.results import ExecutionStatus

MAX_ASSETS = 200
"""Largest number of nodes of a run whose files are published."""

MATERIALIZED_BY = "vibe-prefect"


def tell_assets(report: RunReport, folder: Path) -> None:
    """Publish the files that the nodes of this run made as assets, each made from those of the node's dependencies.

    Args:
        report: Report of the run.
        folder: Folder with its files.
    """
    files = local_files(report, folder)
    assets = {node.id: _assets(node, files) for node in report.nodes}
    publishing = [node for node in report.nodes if assets[node.id] and _made_now(node)]
    for node in publishing[:MAX_ASSETS]:
        used = {asset for id in node.dependencies for asset in assets.get(id, set[Asset]())}
        context = AssetContext(
            downstream_assets=assets[node.id],
            upstream_assets=used - assets[node.id],
            materialized_by=MATERIALIZED_BY,
            materialization_metadata={asset.key: _facts(report, node) for asset in assets[node.id]},
        )
        context.emit_events(Completed())


def _made_now(node: NodeReport) -> bool:
    return node.status is ExecutionStatus.COMPLETED and not node.reused


def _assets(node: NodeReport, files: dict[str, Path]) -> set[Asset]:
    return {
        Asset(key=files[file.path].as_uri(), properties=AssetProperties(name=file.path[:200]))
        for file in node.files
        if file.path in files
    }


def _facts(report: RunReport, node: NodeReport) -> dict[str, str]:
    return {"plan_id": report.plan.id, "run_name": report.run_name, "node_id": node.id}
