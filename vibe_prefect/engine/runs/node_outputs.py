"""Outputs of a run's nodes, whole: data from the records, files from the run's folder or from beside the records."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from prefect.client.orchestration import get_client

from vibe_prefect.core.outputs import OutputFile, output_files, preview_of
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.record_files import FileStore, file_store
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord, RecordFolder, RecordStore, open_store
from vibe_prefect.engine.runs.load_report import load_run, report_of_run
from vibe_prefect.engine.runs.node_snapshots import observe_nodes
from vibe_prefect.engine.server.ui_pages import run_page
from vibe_prefect.errors import OutsideRootError, UsageError, did_you_mean
from vibe_prefect.reporting.media import local_files
from vibe_prefect.reporting.outputs.cards import final_nodes, is_text, output_cards
from vibe_prefect.reporting.outputs.tables import is_code
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.results import ExecutionStatus, resume_command
from vibe_prefect.run.handlers import output_of
from vibe_prefect.text.regular_files import open_regular
from vibe_prefect.tools.workspace import Workspace, replace_file

WHOLE = 1 << 40
"""Characters of an output that are shown: all of them."""

MAX_LISTED = 20
"""Nodes that an error names."""


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """The output of a node, whole."""

    node: NodeReport
    """The node."""

    data: Any
    """The output as its dependents get it, JSON data; `None` where only the report of the run has it."""

    text: str | None
    """The output as text; `None` where it is files alone, of which none is a text."""

    files: tuple[OutputFile, ...]
    """The files that it refers to."""


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """Outputs of a run."""

    report: RunReport
    """The report of the run."""

    outputs: tuple[NodeOutput, ...]
    """Those of the nodes that were asked for."""

    paths: dict[str, Path]
    """Local path of each of their files that lies unchanged in the run's folder, by its path in the report."""

    written: tuple[Path, ...] = ()
    """The files that were written."""


async def load_outputs(
    reference: str | None, node_id: str | None, target: Path | None, storage: str | Path | None
) -> RunOutputs:
    """Return the outputs of a run, and copy them where that is asked for.

    Args:
        reference: The run's name or id; `None` for the newest run.
        node_id: The node; `None` for the results of the run: what its last nodes made, and pictures, sound and film.
        target: Folder to copy them to; `None` to copy nothing.
        storage: Storage of the records; see `open_store`.

    Raises:
        UnknownRunError: The server does not know the run, or the run has no plan.
        UsageError: The run has no such node, the node has no output, or a file is gone.
    """
    store = await open_store(storage)
    async with get_client() as client:
        run = await load_run(client, reference, store)
        report = await report_of_run(client, run, store)
        reader = _Reader(run, report, store)
        nodes = _results(report) if node_id is None else [_node(report, node_id)]
        records = {id: sight.record for id, sight in (await observe_nodes(client, run.id)).items()}
    outputs = tuple([await reader.output(node, records.get(node.id)) for node in nodes])
    written = [] if target is None else [path for output in outputs for path in await reader.copy(output, target)]
    return RunOutputs(report, outputs, reader.paths, tuple(written))


def _results(report: RunReport) -> list[NodeReport]:
    """Return the nodes with the results of a run; of those with the same text, the ones that wrote it to a file."""
    cards = output_cards(report, local_files(report, Path(report.output_root)))
    nodes: dict[str, NodeReport] = {}
    for card in (card for card in cards if card.is_result):
        holders = [report.by_id[id] for id in (card.node.id, *card.passed_on)]
        nodes.update({node.id: node for node in [node for node in holders if node.files] or [card.node]})
    if not nodes:
        if final_nodes(report):  # they have completed, but nothing tells what they made
            raise UsageError(f"the results of the run {report.run_name!r} are not known here: {_not_here(report)}")
        raise UsageError(
            f"the run {report.run_name!r} has no result: none of its last nodes has completed; "
            f"'vibe-prefect report {report.run_name}' shows how far it came"
        )
    return list(nodes.values())


def _not_here(report: RunReport) -> str:
    address = run_page(report.run_id)
    ui = f"; the run's artifacts in Prefect's UI show what it made: {address}" if address else ""
    return (
        "there is no record in the storage of records that this machine uses: it was pruned, or the run kept its "
        f"records elsewhere, where this command finds them{ui}"
    )


def _node(report: RunReport, node_id: str) -> NodeReport:
    node = report.by_id.get(node_id)
    if node is None:
        known = [node.id for node in report.nodes if not node.is_group]
        more = f" and {len(known) - MAX_LISTED:,} more" if len(known) > MAX_LISTED else ""
        raise UsageError(
            f"the run {report.run_name!r} has no node {node_id!r}{did_you_mean(node_id, known)}; "
            f"its nodes: {', '.join(known[:MAX_LISTED])}{more}"
        )
    if node.is_group:
        children = [child.id for child in report.nodes if child.parent == node_id]
        held = f": name one of {', '.join(children[:MAX_LISTED])}" if children else ""
        raise UsageError(f"node {node_id!r} has no output of its own, it only holds its children together{held}")
    if node.status is not ExecutionStatus.COMPLETED:
        raise UsageError(f"node {node_id!r} has no output, {_reason(report, node)}")
    return node


def _reason(report: RunReport, node: NodeReport) -> str:
    if node.status not in (ExecutionStatus.FAILED, ExecutionStatus.SKIPPED):
        return f"it is {node.status}; 'vibe-prefect watch {report.run_name}' follows the run"
    end = "failed" if node.status is ExecutionStatus.FAILED else "was skipped"
    error = f": {node.error}" if node.error else ""
    to_go_on = f"; to go on: {report.resume_command}" if report.resume_command is not None else ""
    return f"it {end}{error}{to_go_on}"


class _Reader:
    """Reads the outputs of one run."""

    def __init__(self, run: PastRun, report: RunReport, store: RecordStore) -> None:
        self._run = run
        self._report = report
        self._store = store
        self._records = Records(store, run.record_namespace)
        self.paths: dict[str, Path] = {}

    async def output(self, node: NodeReport, record_path: str | None) -> NodeOutput:
        """Return the output of a completed node."""
        record = await self._record(node, record_path)
        data = output_of(record["result"]) if record is not None else None
        files = output_files(data, everywhere=True) if record is not None else node.files
        for file in files:
            path = await run_sync(_intact, Path(self._report.output_root), file)
            self.paths.update({file.path: path} if path is not None else {})
        text = node.preview if record is None else preview_of(data, WHOLE)
        if text is None and not files:
            reason = _not_here(self._report) if record is None else "it returned nothing to read"
            raise UsageError(f"node {node.id!r} has no output: {reason}")
        if text is None and len(files) == 1 and is_text(files[0]):
            text = await self._file_text(node, files[0])
        return NodeOutput(node, data, text, files)

    async def copy(self, output: NodeOutput, target: Path) -> list[Path]:
        """Copy an output to a folder: each file to its path in the run's folder, a text to a file named by the node."""
        folder = Workspace(target, target)
        written: list[Path] = []
        for file in output.files:
            if "://" in file.path:
                continue
            try:
                path = folder.output_path(file.path)
            except OutsideRootError as error:
                raise UsageError(f"node {output.node.id!r}: {error}") from None
            await self._fetch(output.node, file, path)
            written.append(path)
        if output.text is not None and not (output.files and preview_of(output.data) is None):
            path = folder.output_path(f"{output.node.id}.{'json' if _is_data(output) else 'md'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, output.text.encode("utf-8", "backslashreplace"))
            written.append(path)
        return written

    async def _record(self, node: NodeReport, path: str | None) -> NodeRecord | None:
        found = await self._records.read(node.kept_as or node.id, node.key) if node.key else None
        return await self._store.read_record(path) if found is None and path is not None else found

    async def _file_text(self, node: NodeReport, file: OutputFile) -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            await self._fetch(node, file, path)
            try:
                return path.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError:
                return None

    async def _fetch(self, node: NodeReport, file: OutputFile, target: Path) -> None:
        """Write a file's content as the node made it to a path.

        Raises:
            UsageError: Neither the run's folder nor the records have it.
        """
        source = self.paths.get(file.path)
        if source is not None:
            await run_sync(_copy, source, target)
            return
        storage = self._store.result_storage
        kept: FileStore = file_store(storage, storage.root if isinstance(storage, RecordFolder) else None)
        namespace = self._run.record_namespace
        if file.sha256 is None or not await kept.restore(namespace, file.sha256, target):
            place = Path(self._report.output_root) / file.path
            lacks = "was changed since" if place.is_file() else "is gone"
            raise UsageError(
                f"the file {file.path!r} of node {node.id!r} {lacks} ({str(place)!r}), and the records hold no copy of "
                f"it; if the run was elsewhere, ask there, else make it again: "
                f"{resume_command(self._report.run_name)} --refresh {node.id}"
            )


def _is_data(output: NodeOutput) -> bool:
    return output.text is not None and is_code(output.text) and not isinstance(output.data, str)


def _intact(root: Path, file: OutputFile) -> Path | None:
    """Return the local path of a file; `None` where it is not there, or does not have the content that was made."""
    try:
        path = Workspace(root, root).output_path(file.path)
        if not path.is_file():
            return None
        with open_regular(path) as content:
            same = file.sha256 is None or hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        return path if same else None
    except (OSError, OutsideRootError):
        return None


def _copy(source: Path, target: Path) -> None:
    if source == target:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_regular(source) as content, tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
        shutil.copyfileobj(content, copy)
    shutil.copymode(source, copy.name)
    Path(copy.name).replace(target)
