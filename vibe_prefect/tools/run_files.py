"""What a run knows of its files: which node owns which path, and the hash of what lies there."""

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
    """What the owner does there, with the path as the owner spells it."""


@dataclass(frozen=True, slots=True)
class _Claim:
    node: str
    path: str


_Signature = tuple[int, int, int, int]


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
        place = _place(path)
        with self._lock:
            clash = self._clash(place, node, folder=folder)
            if clash is None:
                (self._folders if folder else self._files).setdefault(place, _Claim(node, path))
                for parent in () if folder else _parents(place):
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
                for place in [place for place, claim in claims.items() if claim.node == node]:
                    del claims[place]
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

    def sha256(self, target: Path) -> str:
        """Return the hash of a file's content, hexadecimal; a file that has not changed is read once.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        signature = _signature(target)
        known = self._hashes.get(target)
        if known is not None and known[0] == signature:
            return known[1]
        with open_regular(target) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._hashes[target] = signature, sha256
        return sha256

    def _clash(self, place: str, node: str, *, folder: bool) -> Clash | None:
        if folder:
            taken = _of_another(self._folders.get(place), node)
            if taken is not None:
                return Clash(taken.node, f"node {taken.node!r} puts its files into {taken.path!r}")
        for part in (place, *_parents(place)):
            taken = _of_another(self._files.get(part), node)
            if taken is not None:
                return Clash(taken.node, f"node {taken.node!r} writes the file {taken.path!r}")
        if folder:
            return None
        below = next(((id, path) for id, path in self._below.get(place, {}).items() if id != node), None)
        taken = _of_another(self._folders.get(place), node)
        if below is None and taken is not None:
            below = taken.node, f"{taken.path}/"
        return below and Clash(below[0], f"node {below[0]!r} writes {below[1]!r}, so this is a folder")


def plain_path(path: str) -> str | None:
    """Return a relative path in its shortest spelling; `None` where it names nothing below the folder it is read in."""
    shortest = posixpath.normpath(path)
    outside = shortest == "." or shortest.startswith("/") or leaves_folder(path) or "\0" in shortest
    return None if outside else shortest


def leaves_folder(path: str) -> bool:
    """Tell whether a relative path leaves the folder that it is read in, whichever that is."""
    shortest = posixpath.normpath(path)
    return shortest == ".." or shortest.startswith("../")


def _place(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _parents(place: str) -> list[str]:
    parts = place.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _of_another(claim: _Claim | None, node: str) -> _Claim | None:
    return claim if claim is not None and claim.node != node else None


def _signature(target: Path) -> _Signature:
    status = target.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
