"""Pruning of old runs: deletes their records, and on request their output folders."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect.client.orchestration import PrefectClient

from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.record_files import FILES_FOLDER
from vibe_prefect.engine.records.record_lock import LOCK_FILE
from vibe_prefect.engine.records.records import Records, is_namespace
from vibe_prefect.engine.records.storage import RecordFolder, RecordStore
from vibe_prefect.engine.runs.resume_chains import read_runs, with_roots
from vibe_prefect.engine.runs.run_list import (
    NamespaceContent,
    OutputFolder,
    outputs_of,
    read_namespace,
    refused_outputs_of,
)
from vibe_prefect.errors import RunInUseError, UsageError
from vibe_prefect.settings.package import variable

IN_USE = "a process holds it"

MAX_NAMES = 3
"""Number of runs of a namespace that a title names before it only counts."""


@dataclass(frozen=True)
class Remains:
    """Records to prune: those of one namespace, with the output folders of its runs."""

    namespace: str
    runs: tuple[str, ...]
    """Names of the runs; none when the server knows no run of the namespace."""

    last_active: datetime
    """Latest end of a run, or time of the newest record."""

    records: NamespaceContent | None
    """Content of the folder of the namespace; `None` when there is none."""

    outputs: tuple[OutputFolder, ...] = ()
    """The runs' own output folders, if these are to go too."""

    @property
    def title(self) -> str:
        """Name of the namespace for people."""
        return _title(self.runs, self.namespace)

    @property
    def bytes(self) -> int:
        """Size of all that would be deleted."""
        return (self.records.bytes if self.records else 0) + sum(folder.bytes for folder in self.outputs)


@dataclass(frozen=True)
class Kept:
    """An old namespace that is kept with a reason: all of it, or its output folder alone."""

    namespace: str
    runs: tuple[str, ...]
    reason: str

    @property
    def title(self) -> str:
        """Name of the namespace for people."""
        return _title(self.runs, self.namespace)


def _title(runs: Sequence[str], namespace: str) -> str:
    if not runs:
        return f"{namespace} (no run of this server)"
    surplus = len(runs) - MAX_NAMES
    return ", ".join(runs[:MAX_NAMES]) + (f" and {surplus:,} more" if surplus > 0 else "")


def folder_of(store: RecordStore) -> RecordFolder:
    """Return the folder of a store.

    Raises:
        UsageError: The records are in a storage block.
    """
    files = store.result_storage
    if isinstance(files, RecordFolder):
        return files
    block = type(files).__name__
    raise UsageError(
        f"records are kept in a storage block ({block}), and only those in a folder can be pruned here; "
        "delete old ones with the storage's own tools, such as a lifecycle rule of the bucket"
    )


async def find_remains(
    client: PrefectClient, files: RecordFolder, before: datetime, *, outputs: bool
) -> tuple[list[Remains], list[Kept]]:
    """Find the namespaces that may be deleted, oldest first, and those that are as old and must stay.

    Args:
        client: The server's client.
        files: The folder of all records.
        before: Latest time of activity in the namespaces.
        outputs: Whether output folders are to go too.
    """
    runs: dict[str, list[PastRun]] = {}
    for run in await with_roots(client, await read_runs(client)):
        runs.setdefault(run.record_namespace, []).append(run)
    remains: list[Remains] = []
    kept: list[Kept] = []
    for namespace in sorted({*runs, *namespaces_in(files.root)}):
        members = sorted(runs.get(namespace, ()), key=lambda run: run.created)
        kept += _refused_outputs(namespace, members, before) if outputs else ()
        candidate = _remains(namespace, members, files, _outputs(members) if outputs else ())
        if candidate is None or candidate.last_active > before:
            continue
        reason = _obstacle(files.root / namespace, members)
        if reason is None:
            remains.append(candidate)
        else:
            kept.append(Kept(namespace, candidate.runs, reason))
    return sorted(remains, key=lambda candidate: candidate.last_active), kept


def delete(store: RecordStore, remains: Remains) -> Kept | None:
    """Delete records and outputs of a namespace, holding it so that no run resumes it meanwhile.

    Returns:
        The reason where it stays: a run resumes it, or has resumed it since it was found.

    Raises:
        OSError: Something could not be deleted.
    """
    folder = folder_of(store).root / remains.namespace
    reason = _strange(folder)
    if reason is None:
        try:
            with Records(store, remains.namespace).hold():
                reason = _delete_held(folder, remains)
        except RunInUseError:
            reason = IN_USE
    return Kept(remains.namespace, remains.runs, reason) if reason else None


def namespaces_in(root: Path) -> Iterator[str]:
    """Yield the names of the folders of namespaces: only folders with such a name, and no links."""
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if is_namespace(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except FileNotFoundError:
        return


def _remains(
    namespace: str, members: Sequence[PastRun], files: RecordFolder, outputs: Sequence[OutputFolder]
) -> Remains | None:
    folder = files.root / namespace
    records = read_namespace(folder)
    if records is None and not outputs:
        return None
    times = [run.last_active for run in members]
    if records is not None and records.newest is not None:
        times.append(datetime.fromtimestamp(records.newest, UTC))
    if not times:  # unknown to the server, and without a record
        times.append(datetime.fromtimestamp(folder.stat().st_mtime, UTC))
    return Remains(namespace, tuple(run.name for run in members), max(times), records, tuple(outputs))


def _outputs(members: Sequence[PastRun]) -> list[OutputFolder]:
    """Return the runs' own output folders: one, unless a run resumed with another plan or folder."""
    folders = map(outputs_of, members)
    return list({folder.path: folder for folder in folders if folder}.values())


def _refused_outputs(namespace: str, members: Sequence[PastRun], before: datetime) -> Iterator[Kept]:
    """Yield the old output folders that stay since the operator's settings do not allow them."""
    if any(not run.over or run.last_active > before for run in members):
        return
    folders = {refused_outputs_of(run): run for run in members}
    for folder, run in folders.items():
        if folder is not None:
            reason = f"its output folder {folder} lies outside the one of the setting {variable('output')}"
            yield Kept(namespace, (run.name,), reason)


def _obstacle(folder: Path, members: Sequence[PastRun]) -> str | None:
    """Return the reason why a namespace must stay."""
    for run in members:
        if not run.over:
            return f"the run {run.name} is {run.state}"
    return _strange(folder) or (IN_USE if _is_held(folder / LOCK_FILE) else None)


def _strange(folder: Path) -> str | None:
    """Return a description of unexpected content in the folder of a namespace; `None` where there is none."""
    if folder.is_symlink():
        return "its folder is a link"
    lock = folder / LOCK_FILE
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        return "its lock is a link or no regular file"
    if any(path.name != FILES_FOLDER for path in _folders_in(folder)):
        return "there is a folder among its records"
    if any(_folders_in(folder / FILES_FOLDER)):
        return "there is a folder among the files of its records"
    return None


def _folders_in(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder, without links; none where the folder itself is a link."""
    if folder.is_dir() and not folder.is_symlink():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _is_held(lock: Path) -> bool:
    """Return whether a process holds a namespace, leaving no trace."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _delete_held(folder: Path, remains: Remains) -> str | None:
    records = read_namespace(folder)
    newest_found = remains.records.newest if remains.records else None
    if records is not None and records.newest is not None and (newest_found is None or records.newest > newest_found):
        return "a run has resumed it meanwhile"
    _delete_records(folder)
    for outputs in remains.outputs:
        _delete_outputs(outputs.path)
    return None


def _delete_records(folder: Path) -> None:
    """Delete the records of a namespace with the files that they keep, the lock last, and the folder itself."""
    for subfolder in _folders_in(folder):
        _delete_files(subfolder)
    _delete_files(folder)


def _delete_files(folder: Path) -> None:
    """Delete the files in a folder, the lock last, and the folder itself."""
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: name == LOCK_FILE)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in names:
            os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    folder.rmdir()


def _delete_outputs(folder: Path) -> None:
    if folder.resolve() == folder:
        shutil.rmtree(folder)
