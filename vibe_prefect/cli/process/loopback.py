"""Connections to servers on this machine: 127.0.0.1 is reached without a proxy."""

from __future__ import annotations

import os

ADDRESSES = ("127.0.0.1", "localhost")
NAMES = ("no_proxy", "NO_PROXY")
EVERYTHING = "*"


def bypass_proxies() -> None:
    """Exempt this machine from the proxies of the environment, for this process and its children."""
    for name in NAMES:
        listed = [part.strip() for other in NAMES for part in os.environ.get(other, "").split(",") if part.strip()]
        if EVERYTHING not in listed:
            os.environ[name] = ",".join(dict.fromkeys([*listed, *ADDRESSES]))
