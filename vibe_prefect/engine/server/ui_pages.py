"""Addresses of pages in the Prefect UI that a new browser gets.

A server has up to two UIs, and says at `ui-settings` which one it shows at its own address, and where the other is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import httpx
from prefect.settings import get_current_settings

SECONDS = 3.0
"""Seconds that the server has for the answer; without one, addresses are those of the only UI of older servers."""


def ui_page(path: str = "") -> str | None:
    """Return the address of a page of the server's UI; `None` where no UI is known.

    The server is asked once in a process, which blocks the caller for that moment.

    Args:
        path: The page, such as `/runs/flow-run/<id>`.
    """
    address = get_current_settings().ui_url
    return f"{_base(address.rstrip('/'))}{path}" if address else None


def run_page(flow_run_id: object) -> str | None:
    """Return the address of a flow run's page; see `ui_page`."""
    return ui_page(f"/runs/flow-run/{flow_run_id}")


def coming_run_page(flow_run_id: object) -> str:
    """Return the address of a flow run's page once `vibe-prefect server start` runs; no server is asked."""
    base = "http://127.0.0.1:4200" + ("/v2" if get_current_settings().server.ui.v2_enabled else "")
    return f"{base}/runs/flow-run/{flow_run_id}"


@lru_cache(maxsize=16)
def _base(address: str) -> str:
    try:
        answer = httpx.get(f"{address}/ui-settings", timeout=SECONDS).json()
    except (httpx.HTTPError, ValueError):  # Prefect Cloud, an older server, a page of a proxy
        return address
    return shown_at(address, answer)


def shown_at(address: str, answer: object) -> str:
    """Return the address of the UI that a new browser gets.

    Args:
        address: The server's UI, by its settings here.
        answer: The server's answer at `ui-settings`.
    """
    settings = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    old_ui, new_ui = (str(settings.get(name) or "").rstrip("/") for name in ("v1_base_url", "v2_base_url"))
    if settings.get("default_ui") != "v2" or not new_ui.startswith(old_ui):
        return address
    return address.removesuffix(new_ui.removeprefix(old_ui)) + new_ui.removeprefix(old_ui)
