"""A real HTTP server that plans fetch from: it counts each fetch, and holds some for as long as a test likes."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.deployed.api import BOUND
from tests.deployed.plans import Plan, plan, tool
from tests.providers.loopback import serving

WIDTH = 3
"""Nodes of each kind: fetched at once, held at the gate, and behind those."""


@dataclass
class Gate:
    """What was fetched, and whether what is held may pass."""

    hits: Counter[str] = field(default_factory=Counter[str])
    """How often each node fetched."""

    opened: threading.Event = field(default_factory=threading.Event)
    """Set when what is held may pass."""

    address: str = ""
    """Host and port."""

    _number: count[int] = field(default_factory=lambda: count(1))

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer each fetch with a number of its own, so that no two contents are the same."""
        _, kind, id = scope["path"].split("/")
        self.hits[id] += 1
        while kind == "held" and not self.opened.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.02)
        body = f"number {next(self._number)}".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a worker whose plans may fetch here."""
        prefix = "PREFECT_INTEGRATIONS_VIBE_PREFECT_FETCH"
        return {
            f"{prefix}_ALLOW": self.address,
            f"{prefix}_ALLOW_PRIVATE": self.address,
            f"{prefix}_SECONDS": str(2 * BOUND),
        }

    def url(self, kind: str, id: str) -> str:
        return f"http://{self.address}/{kind}/{id}"

    def plan(self, id: str) -> Plan:
        """A plan whose run stands still with `WIDTH` nodes finished, as many at work, and as many not begun."""
        return plan(id, *(node for index in range(WIDTH) for node in self._chain(f"{id}-{index}")))

    def _chain(self, end: str) -> list[dict[str, Any]]:
        first, held, last = f"first-{end}", f"held-{end}", f"last-{end}"
        return [
            tool(first, "http_fetch", {"url": self.url("free", first)}),
            tool(held, "http_fetch", {"url": self.url("held", held)}, first),
            tool(last, "http_fetch", {"url": self.url("free", last)}, held),
        ]

    def held(self, id: str) -> bool:
        """Tell whether the plan's run has come to where it stands still."""
        return all(self.hits[f"held-{id}-{index}"] for index in range(WIDTH))

    def times(self, id: str) -> dict[str, int]:
        """How often each kind of the plan's nodes fetched."""
        return {kind: sum(self.hits[f"{kind}-{id}-{i}"] for i in range(WIDTH)) for kind in ("first", "held", "last")}


@contextmanager
def running_gate() -> Generator[Gate]:
    """Serve a gate, closed at first."""
    gate = Gate()
    with serving(gate) as port:
        gate.address = f"127.0.0.1:{port}"
        try:
            yield gate
        finally:
            gate.opened.set()
