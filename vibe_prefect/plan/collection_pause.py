"""A pause of Python's garbage collector while many objects that stay are made."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Generator[None]:
    """Look for no cyclic garbage meanwhile.

    Each look goes through all objects that are new: a fifth of the time in which a large plan is compiled, and nothing
    is found. Threads may overlap: the first of them that ends lets it go on, and none keeps it from that for good.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
