"""Files of a run: the owner of each path, and the hash of its content."""

from __future__ import annotations

import hashlib
import posixpath
import unicodedata
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from vibe_prefect.text.regular_files import open_regular


@dataclass(frozen=True, slots=True)
class Clash:
    """Two nodes that want one place in the output folder."""

    owner: str
    """Id of the node that has it."""

    reason: str
    """Use of the path by its owner, with the path as the owner spells it."""


@dataclass(frozen=True, slots=True)
class _Claim:
    node: str
    path: str


_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """What a node owns and has written, for the process of the run where another process has done the node's work."""

    files: tuple[str, ...] = ()
    """Paths that it owns as files."""

    folders: tuple[str, ...] = ()
    """Paths that it fills as folders."""

    written: tuple[tuple[str, Path, str], ...] = ()
    """What its newest attempt has written: the path, where that is, and the hash of the content."""


class RunFiles:
    """Owners and hashes of the files in one output folder; may be used from several threads.

    Paths are relative to the output folder, with `/` between their parts. Two of them are one place when they differ
    in case or in Unicode normalisation only, so that a plan does the same on every file system.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[str, _Claim] = {}
        self._folders: dict[str, _Claim] = {}
        self._below: dict[str, dict[str, str]] = {}
        self._written: dict[str, dict[str, None]] = {}
        self._hashes: dict[Path, tuple[_Signature, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process is sent: a copy, in which later claims of this process are missing."""
        with self._lock:
            return {name: deepcopy(value) for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Fill the copy."""
        self._lock = Lock()
        vars(self).update(state)

    def claim(self, path: str, node: str, *, folder: bool = False) -> Clash | None:
        """Make a node the owner of a path, unless another node has it.

        Args:
            path: The path.
            node: The node's id; it may claim what it has already.
            folder: Whether the node fills the path as a folder: others may put files there, but not fill it too.

        Returns:
            Why it may not; `None` when it owns the path now.
        """
        folded_path = _place(path)
        with self._lock:
            clash = self._clash(folded_path, node, folder=folder)
            if clash is None:
                (self._folders if folder else self._files).setdefault(folded_path, _Claim(node, path))
                for parent in () if folder else _parents(folded_path):
                    self._below.setdefault(parent, {}).setdefault(node, path)
            return clash

    def owner(self, path: str) -> str | None:
        """Return the id of the node that owns a file; `None` where nobody does."""
        claim = self._files.get(_place(path))
        return claim.node if claim else None

    def release(self, node: str) -> None:
        """Give up whatever a node owns."""
        with self._lock:
            for claims in (self._files, self._folders):
                for folded_path in [folded_path for folded_path, claim in claims.items() if claim.node == node]:
                    del claims[folded_path]
            for nodes in self._below.values():
                nodes.pop(node, None)
            self._written.pop(node, None)

    def begin_attempt(self, node: str) -> None:
        """Forget what earlier attempts at a node wrote; it still owns the paths."""
        self._written.pop(node, None)

    def note_written(self, node: str | None, path: str, target: Path, sha256: str) -> None:
        """Note what was written.

        Args:
            node: The node that wrote; `None` outside a run.
            path: The path.
            target: Where that is.
            sha256: Hash of the content, hexadecimal.
        """
        self._hashes[target] = _signature(target), sha256
        if node is not None:
            self._written.setdefault(node, {})[path] = None

    def written_by(self, node: str) -> tuple[str, ...]:
        """Return the paths that a node's newest attempt has written, in that order."""
        return tuple(self._written.get(node, ()))

    def of_node(self, node: str, output_root: Path) -> NodeFiles:
        """Return what a node owns and has written.

        Args:
            node: The node's id.
            output_root: The output folder.
        """
        with self._lock:
            files = tuple(claim.path for claim in self._files.values() if claim.node == node)
            folders = tuple(claim.path for claim in self._folders.values() if claim.node == node)
            targets = ((path, output_root.resolve() / path) for path in self._written.get(node, ()))
            written = tuple((path, target, self._hashes[target][1]) for path, target in targets)
            return NodeFiles(files, folders, written)

    def take(self, node: str, taken: NodeFiles) -> tuple[str, Clash] | None:
        """Note what another process has claimed and written for a node.

        Returns:
            A path that it may not have, since another node has got it in the meantime, and why; `None` where it may
            have all.
        """
        claims = [(path, False) for path in taken.files] + [(path, True) for path in taken.folders]
        clashes = [(path, self.claim(path, node, folder=folder)) for path, folder in claims]
        for path, target, sha256 in taken.written:
            if target.is_file():
                self.note_written(node, path, target, sha256)
        return next(((path, clash) for path, clash in clashes if clash is not None), None)

    def sha256(self, target: Path) -> str:
        """Return the hash of a file's content, hexadecimal; a file that has not changed is read once.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        signature = _signature(target)
        cached = self._hashes.get(target)
        if cached is not None and cached[0] == signature:
            return cached[1]
        with open_regular(target) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._hashes[target] = signature, sha256
        return sha256

    def _clash(self, folded_path: str, node: str, *, folder: bool) -> Clash | None:
        if folder:
            claim = _of_another(self._folders.get(folded_path), node)
            if claim is not None:
                return Clash(claim.node, f"node {claim.node!r} puts its files into {claim.path!r}")
        for prefix in (folded_path, *_parents(folded_path)):
            claim = _of_another(self._files.get(prefix), node)
            if claim is not None:
                return Clash(claim.node, f"node {claim.node!r} writes the file {claim.path!r}")
        if folder:
            return None
        below = next(((id, path) for id, path in self._below.get(folded_path, {}).items() if id != node), None)
        claim = _of_another(self._folders.get(folded_path), node)
        if below is None and claim is not None:
            below = claim.node, f"{claim.path}/"
        return below and Clash(below[0], f"node {below[0]!r} writes {below[1]!r}, so this is a folder")


def plain_path(path: str) -> str | None:
    """Return a relative path in its shortest spelling; `None` where it names nothing below the folder it is read in."""
    shortest = posixpath.normpath(path)
    is_outside = shortest == "." or shortest.startswith("/") or leaves_folder(path) or "\0" in shortest
    return None if is_outside else shortest


def leaves_folder(path: str) -> bool:
    """Tell whether a relative path leaves the folder that it is read in, whichever that is."""
    shortest = posixpath.normpath(path)
    return shortest == ".." or shortest.startswith("../")


def _place(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _of_another(claim: _Claim | None, node: str) -> _Claim | None:
    return claim if claim is not None and claim.node != node else None


def _signature(target: Path) -> _Signature:
    status = target.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
