"""Talking to servers on this machine: what listens at 127.0.0.1 is asked without a proxy."""

from __future__ import annotations

import os
from urllib.request import ProxyHandler, build_opener

ADDRESSES = ("127.0.0.1", "localhost")
NAMES = ("no_proxy", "NO_PROXY")
EVERYTHING = "*"

_direct = build_opener(ProxyHandler({}))


def answers(api_url: str, seconds: float = 2.0) -> bool:
    """Return whether a Prefect server of this machine answers at an address.

    Args:
        api_url: The address of its API.
        seconds: How long it may take.
    """
    try:
        with _direct.open(f"{api_url}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def bypass_proxies() -> None:
    """Exempt this machine from the proxies of the environment, for this process and its children."""
    for name in NAMES:
        listed = [part.strip() for other in NAMES for part in os.environ.get(other, "").split(",") if part.strip()]
        if EVERYTHING not in listed:
            os.environ[name] = ",".join(dict.fromkeys([*listed, *ADDRESSES]))
