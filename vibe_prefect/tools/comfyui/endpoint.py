"""A ComfyUI server as the operator names it; `comfy_client`, which speaks to it, is imported when it is spoken to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vibe_prefect.tools.secrecy.key_sources import no_key

NAME = "comfyui_run"
"""The tool's name, for messages."""

Workflow = dict[str, Any]
"""Nodes by id, each with `class_type` and `inputs`."""


@dataclass(frozen=True, slots=True)
class ComfyServer:
    """A ComfyUI server, as the operator names it."""

    url: str
    """Address, such as `http://127.0.0.1:8188`."""

    key: Callable[[], str | None] = no_key
    """Returns what a proxy before it wants as bearer token; asked at each call, so that it is not kept."""

    key_place: str | None = None
    """Place of the key, `env:NAME` or `secret:name`; for messages and dry runs."""

    seconds: float = 1_800.0
    """Time limit of one workflow in seconds, waiting in the server's queue included."""

    max_bytes: int = 500_000_000
    """Bytes that its files may have, all together."""

    nodes: tuple[str, ...] | None = None
    """The node classes that workflows may use; `None` for all that the server has. Some of them read or write files,
    or fetch from the network, on the server."""
