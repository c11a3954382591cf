"""Finding the process that answers with a local model, or starting it: one for all processes of this user.

Each process that uses it holds a shared lock until it ends, so that the server can tell when nobody is left; the server
holds the lock of its record as long as it lives, so that the record of a killed one is known to be stale.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vibe_prefect.core.file_locks import open_lock, try_lock
from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.llm.local_model.model_file import LocalModel
from vibe_prefect.llm.local_model.server_program import Launch
from vibe_prefect.llm.local_model.state import state_folder
from vibe_prefect.tools.secrecy.known import remember

START_SECONDS = 300.0
"""Seconds that a model has to be loaded."""

POLL_SECONDS = 0.05
MAX_SAID = 300
"""Characters of llama.cpp's last words that an error repeats."""

_joining = threading.Lock()
_held: dict[Path, int] = {}
"""Open files whose shared locks this process holds, by their paths."""

_started: dict[Path, subprocess.Popen[bytes]] = {}
"""Servers that this process has started, by the paths of their records."""


class LocalAddress(NamedTuple):
    """Address of a local model."""

    url: str
    """Where OpenAI's protocol begins."""

    key: str
    """Key that a question must carry."""


@dataclass(frozen=True, slots=True)
class _Files:
    """Files about one model that runs in one way."""

    record: Path
    users: Path
    turn: Path
    log: Path

    @classmethod
    def of(cls, model: LocalModel) -> _Files:
        facts = [model.name, model.gguf, model.threads, model.context, sys.prefix]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        folder = state_folder()
        return cls(*(folder / f"model-{digest}.{ending}" for ending in ("json", "users", "turn", "log")))


def join_server(model: LocalModel) -> LocalAddress:
    """Return where a model answers; its process is started where there is none. It may take as long as loading takes.

    Raises:
        ToolError: The model cannot be loaded.
    """
    files = _Files.of(model)
    end = time.monotonic() + START_SECONDS
    with _joining:
        while time.monotonic() < end:
            if _is_user(files.users):
                address = _found_or_starting(model, files)
                if address is not None:
                    remember(address.key)
                    return address
            time.sleep(POLL_SECONDS)
    raise ToolError(f"{model.name}: the model was not loaded within {START_SECONDS:g} s")


@asynccontextmanager
async def turn(model: LocalModel) -> AsyncGenerator[None]:
    """Wait until no other question of this user is under way, in any process: the time of a call counts from then."""
    number = open_lock(_Files.of(model).turn)
    try:
        while not try_lock(number):  # noqa: ASYNC110 - a lock tells nobody of its end
            await asyncio.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(number)


def _is_user(path: Path) -> bool:
    """Hold the lock of the users until this process ends; a server that is ending keeps it until it has ended."""
    if path not in _held:
        number = open_lock(path)
        if not try_lock(number, shared=True):
            os.close(number)
            return False
        _held[path] = number
    return True


def _found_or_starting(model: LocalModel, files: _Files) -> LocalAddress | None:
    """Return the address of the server; `None` while it is loading."""
    record = open_lock(files.record)
    try:
        if not try_lock(record):
            return _read(record)
        failed = _started.pop(files.record, None)
        if failed is not None and failed.poll() not in (None, 0) and not _read(record):
            raise ToolError(f"{model.name}: llama.cpp cannot load it: {_last_words(files.log)}", retryable=False)
        _start(model, files, record)
    finally:
        os.close(record)
    return None


def _start(model: LocalModel, files: _Files, record: int) -> None:
    """Start the server; it inherits the lock of the open record."""
    os.ftruncate(record, 0)
    launch = Launch(model, record, str(files.users))
    with files.log.open("wb") as log:
        _started[files.record] = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-P", "-m", "vibe_prefect.llm.local_model.server_program", launch.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(record,),
            start_new_session=True,  # Ctrl-C is the run's matter
        )


def _read(record: int) -> LocalAddress | None:
    try:
        fields = json.loads(os.pread(record, 10_000, 0))
        return LocalAddress(f"{fields['url']}/v1", fields["key"])
    except (ValueError, KeyError, TypeError):
        return None


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "it said nothing"
    return shorten(" ".join(lines[-1:]) or "it said nothing", MAX_SAID)


@atexit.register
def _leave() -> None:
    """Leave the servers running for the others; Python would warn that they still run."""
    for process in _started.values():
        if process.poll() is None:
            process.returncode = 0
