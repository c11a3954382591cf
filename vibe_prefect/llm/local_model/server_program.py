"""Program of the process that answers with a local model, for all processes of this user that have joined it.

It ends when none of them is left. Their locks tell: a process that is killed has none.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vibe_prefect.core.file_locks import open_lock, try_lock
from vibe_prefect.llm.local_model.llama_server import load_server
from vibe_prefect.llm.local_model.model_file import LocalModel

POLL_SECONDS = 0.5
"""Seconds between two looks for users."""


@dataclass(frozen=True)
class Launch:
    """Arguments of the program, as JSON."""

    model: LocalModel
    """The model to serve."""

    record: int
    """Number of the inherited, open and locked record."""

    users: str
    """Path of the file whose shared lock each user holds."""

    def to_json(self) -> str:
        """Return the arguments as text."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Launch:
        """Return the arguments of a text."""
        fields = json.loads(text)
        return cls(LocalModel(**fields["model"]), fields["record"], fields["users"])


def main(arguments: str) -> None:
    """Serve until nobody uses the model any more.

    Args:
        arguments: A `Launch` as JSON.
    """
    launch = Launch.of(arguments)
    key = secrets.token_urlsafe(32)  # other users of the machine cannot read it
    server = load_server(launch.model, key=key)
    os.pwrite(launch.record, json.dumps({"url": server.listening_address, "key": key}).encode(), 0)
    users = open_lock(Path(launch.users))
    while not try_lock(users):  # a lock tells nobody of its end
        time.sleep(POLL_SECONDS)
    os.ftruncate(launch.record, 0)
    os._exit(0)  # both locks end at once, and llama.cpp needs no farewell


if __name__ == "__main__":
    main(sys.argv[1])
