"""Local models: their file, their name, and what they lack."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vibe_prefect.errors import ToolError
from vibe_prefect.llm.local_model.state import state_folder

LOCAL = "local"
"""Name of the local model in settings and plans, and the provider in its full name."""

MISSING = None if find_spec("xllamacpp") is not None else "pip install 'vibe-prefect[llm,local]'"
"""The command that installs what a local model needs; `None` when it is here."""

GGUF_VARIABLE = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LOCAL_GGUF"

DEFAULT_CONTEXT = 4_096
"""Tokens that a local model can have before it by default, its answer included."""

LEAST_CONTEXT = 1_024

MAGIC = b"GGUF"
"""First bytes of a GGUF file."""

_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of this machine, and how it runs."""

    name: str
    """`local:<file name>-<hash of the file>`: another file is another model."""

    gguf: str | None
    """Path of the GGUF file; `None` where the setting is not made."""

    threads: int
    """Threads that it computes with."""

    context: int = DEFAULT_CONTEXT
    """Tokens that it can have before it, its answer included."""

    @property
    def lack(self) -> str | None:
        """What the operator has to do before it can be asked; `None` where it can."""
        if self.gguf is None:
            return f"set {GGUF_VARIABLE} to the path of a GGUF file"
        problem = file_problem(Path(self.gguf))
        return None if problem is None else f"set {GGUF_VARIABLE} to the path of a GGUF file: {problem}"


def local_model(gguf: str | None, threads: int | None = None, context: int = DEFAULT_CONTEXT) -> LocalModel:
    """Return the local model of a file. A file that is not there is a lack of the model, and no error.

    Args:
        gguf: Path of the file.
        threads: Threads to compute with; by default half of the processors, since the others are mostly their twins,
            and a thread that has to wait for its processor holds up all of them.
        context: Tokens that it can have before it.
    """
    path = None if gguf is None else Path(gguf).expanduser().absolute()
    return LocalModel(
        f"{LOCAL}:{_file_name(path)}", path and str(path), threads or max(1, (os.cpu_count() or 1) // 2), context
    )


def file_problem(path: Path) -> str | None:
    """Return why a file cannot be a model, or `None`. Only its first bytes are read."""
    try:
        with path.open("rb") as file:
            return None if file.read(len(MAGIC)) == MAGIC else f"{str(path)!r} is not a GGUF file"
    except FileNotFoundError:
        return f"there is no file {str(path)!r}"
    except OSError as error:
        return f"{str(path)!r} cannot be read: {error.strerror}"


def _file_name(path: Path | None) -> str:
    if path is None:
        return "no-file"
    stem = _NOT_IN_NAME.sub("-", path.name.removesuffix(".gguf")) or "model"
    return stem if file_problem(path) is not None else f"{stem}-{_digest(path)[:12]}"


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file. It is kept until the file changes: a large one takes many seconds to read."""
    status = path.stat()
    fingerprint = f"{path.resolve()}\0{status.st_ino}\0{status.st_size}\0{status.st_mtime_ns}"
    name = f"sum-{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}"
    with suppress(OSError, ToolError):
        kept = (state_folder() / name).read_text(errors="replace")
        if _SUM.fullmatch(kept):
            return kept
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError, ToolError):
        (state_folder() / name).write_text(digest)
    return digest
