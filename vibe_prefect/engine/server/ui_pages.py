"""Addresses of pages in Prefect's UI: those of the one that a new browser gets.

A server has up to two UIs, and says at `ui-settings` which one it shows at its own address, and where the other is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import httpx
from prefect.settings import get_current_settings

SECONDS = 3.0
"""How long the server has for the answer; without one, addresses are those of the only UI that older servers have."""


def ui_page(path: str = "") -> str | None:
    """Return the address of a page of the server's UI; `None` where there is no UI that we know of.

    The server is asked once in a process, which blocks the caller for that moment.

    Args:
        path: The page, such as `/runs/flow-run/<id>`.
    """
    address = get_current_settings().ui_url
    return f"{_base(address.rstrip('/'))}{path}" if address else None


def run_page(flow_run_id: object) -> str | None:
    """Return the address of a flow run's page; see `ui_page`."""
    return ui_page(f"/runs/flow-run/{flow_run_id}")


@lru_cache(maxsize=16)
def _base(address: str) -> str:
    try:
        answer = httpx.get(f"{address}/ui-settings", timeout=SECONDS).json()
    except (httpx.HTTPError, ValueError):  # Prefect Cloud, an older server, a page of a proxy
        return address
    return shown_at(address, answer)


def shown_at(address: str, answer: object) -> str:
    """Return where the UI is that a new browser gets.

    Args:
        address: The server's UI, by its settings here.
        answer: What it says at `ui-settings`.
    """
    told = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    first, second = (str(told.get(name) or "").rstrip("/") for name in ("v1_base_url", "v2_base_url"))
    if told.get("default_ui") != "v2" or not second.startswith(first):
        return address
    return address.removesuffix(second.removeprefix(first)) + second.removeprefix(first)
