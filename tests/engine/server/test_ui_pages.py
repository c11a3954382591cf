"""Addresses of pages in Prefect's UI lead to the one that a new browser gets."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from vibe_prefect.engine.server.ui_pages import run_page, shown_at

SERVER = "http://127.0.0.1:4200"
BOTH = {"default_ui": "v2", "v1_base_url": "/", "v2_base_url": "/v2"}
BELOW = {"default_ui": "v2", "v1_base_url": "/prefect", "v2_base_url": "/prefect/v2"}


@pytest.mark.parametrize(
    ("address", "answer", "base"),
    [
        (SERVER, BOTH, f"{SERVER}/v2"),
        (f"{SERVER}/v2", BOTH, f"{SERVER}/v2"),
        (f"{SERVER}/prefect", BELOW, f"{SERVER}/prefect/v2"),
        (SERVER, BOTH | {"default_ui": "v1"}, SERVER),
        (SERVER, BOTH | {"v2_base_url": None, "default_ui": "v1"}, SERVER),
        (SERVER, {"api_url": "an older server"}, SERVER),
        (SERVER, ["not", "settings"], SERVER),
    ],
)
def test_ui_of_a_new_browser_is_what_the_server_says(address: str, answer: Any, base: str) -> None:
    assert shown_at(address, answer) == base


@pytest.mark.server
def test_page_of_a_run_is_one_that_the_server_has(prefect_server: str) -> None:
    page = run_page("an-id")
    assert page is not None
    assert page == f"{prefect_server.removesuffix('/api')}/v2/runs/flow-run/an-id"
    found = httpx.get(page, headers={"Accept": "text/html"})
    assert (found.status_code, "<title>" in found.text) == (200, True)
