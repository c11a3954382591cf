"""The folders that a run may touch, and the references that stand for the files it makes."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeGuard, cast

from typing_extensions import TypedDict

from vibe_prefect.errors import OutsideRootError, PathTakenError, ToolError, shorten
from vibe_prefect.tools.run_files import RunFiles


def _new_file_mode() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


NEW_FILE = _new_file_mode()
"""The mode of a file that `open` would make. Found out at import: the umask can only be read by setting it, and other
threads may make files at any time."""


_OWN_NAME = secrets.token_hex(4)
"""Part of the names of temporary files, which another machine's process of the same number does not have."""

_numbers = count()

MAX_NAME = 255
"""Bytes of a file's or a folder's name: what the file systems of all common machines allow."""


class FileRef(TypedDict):
    """A file that a tool made, small enough to travel in records: the bytes stay in the workspace."""

    path: str
    """Relative to the run's output folder, with `/` between its parts."""

    mime: str
    """Media type, such as `image/png`."""

    sha256: str
    """Hash of the content, hexadecimal."""

    bytes: int
    """Size of the content."""


def is_file_ref(value: object) -> TypeGuard[FileRef]:
    """Tell whether a value refers to a file: it has a `FileRef`'s fields, perhaps with more beside them."""
    if not isinstance(value, dict):
        return False
    facts = cast("dict[str, Any]", value)
    texts = all(isinstance(facts.get(name), str) for name in ("path", "mime", "sha256"))
    return texts and isinstance(facts.get("bytes"), int)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders of a run that tools read from and write to. A path from a plan is resolved against one of the two."""

    input_root: Path
    """The only folder that tools may read from."""

    output_root: Path
    """The only folder that tools may write to; made when the first file is written."""

    node: str | None = None
    """Id of the node that this view is for, which owns what is written by it; `None` for nobody's."""

    files: RunFiles = field(default_factory=RunFiles, compare=False, repr=False)
    """Owners and hashes of the files below the output folder, shared by all views of a run."""

    def for_node(self, node: str) -> Workspace:
        """Return the view of the workspace for an attempt at a node: it owns the paths that it claims and writes."""
        self.files.begin_attempt(node)
        return replace(self, node=node)

    def input_path(self, path: str) -> Path:
        """Return a path below the input root.

        Raises:
            OutsideRootError: The path leaves the root, also through a symbolic link.
        """
        return _inside(self.input_root, path, "read")

    def output_path(self, path: str) -> Path:
        """Return a path below the output root.

        Raises:
            OutsideRootError: The path leaves the root, also through a symbolic link.
        """
        return _inside(self.output_root, path, "write")

    def claim(self, path: str) -> Path:
        """Return a path below the output root, and make the node its owner, before work is put into the file.

        Raises:
            ToolError: A name in it is too long for a file system.
            IsADirectoryError: It is a folder.
            OutsideRootError: The path leaves the root, also through a symbolic link.
            PathTakenError: Another node of the run owns it.
        """
        return self._claimed(path, folder=False)

    def claim_folder(self, path: str) -> Path:
        """Return a folder below the output root that the node alone fills; others may put single files there.

        Raises:
            OutsideRootError: The path leaves the root, also through a symbolic link.
            PathTakenError: Another node of the run fills it, or has a file of that name.
        """
        return self._claimed(path, folder=True)

    def made(self, path: str) -> Path:
        """Return a file below the output root that this run has made.

        Raises:
            OutsideRootError: The path leaves the root, also through a symbolic link.
            ToolError: There is no such file.
        """
        target = self.output_path(path)
        if not target.is_file():
            raise ToolError(f"the run has made no file {path!r}; name one below its output folder", retryable=False)
        return target

    def write(self, path: str, content: bytes, mime: str | None = None) -> FileRef:
        """Write a file below the output root, atomically: a reader sees the old content or the new, never a part.

        Args:
            path: Relative to the output root.
            content: What to write.
            mime: Media type; guessed from the file name when left out.

        Raises:
            OutsideRootError: The path leaves the root.
            PathTakenError: Another node of the run owns it.
            OSError: The file could not be written.
        """
        target = self.claim(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)
        relative_path, sha256 = self.relative(target), hashlib.sha256(content).hexdigest()
        self.files.note_written(self.node, relative_path, target, sha256)
        return FileRef(
            path=relative_path,
            mime=mime or mimetypes.guess_type(target.name)[0] or "application/octet-stream",
            sha256=sha256,
            bytes=len(content),
        )

    def relative(self, target: Path) -> str:
        """Return a resolved path below the output root as references and owners spell it."""
        return target.relative_to(self.output_root.resolve()).as_posix()

    def _claimed(self, path: str, *, folder: bool) -> Path:
        target = self.output_path(path)
        if any(len(os.fsencode(name)) > MAX_NAME for name in target.parts):
            reason = f"a name in it has more than {MAX_NAME} bytes"
            raise ToolError(f"may not write {shorten(path, 100)}: {reason}; name it shorter", retryable=False)
        clash = self.node and self.files.claim(self.relative(target), self.node, folder=folder)
        if clash:
            raise PathTakenError(path, clash.owner, clash.reason)
        if not folder and (target.is_dir() or target == self.output_root.resolve()):
            raise IsADirectoryError(f"may not write {path!r}: it is a folder; name a file")
        return target


def replace_file(target: Path, content: bytes | Iterator[bytes]) -> None:
    """Write a file by way of a temporary one beside it, so that it appears whole or not at all.

    Args:
        target: The file.
        content: Its bytes, or pieces of them; none is taken where the folder is missing.
    """
    # Not by `tempfile`, which takes three times as long as the rest; each node writes its record this way.
    name = f"{target.parent}/.{target.name[:100]}.{_OWN_NAME}-{os.getpid()}-{next(_numbers)}"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.writelines([content] if isinstance(content, bytes) else content)
        os.replace(name, target)  # noqa: PTH105
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _inside(root: Path, path: str, verb: str) -> Path:
    base = root.resolve()
    try:
        target = (base / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a NUL, a lone surrogate, links that go round in a circle
        raise OutsideRootError(f"may not {verb} {path!r}: it is not a path that can be resolved ({error})") from error
    if target == base or base in target.parents:
        return target
    raise OutsideRootError(f"may not {verb} {path!r}: it lies outside {base}; use a path below that folder")
