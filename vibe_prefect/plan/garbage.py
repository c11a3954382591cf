"""Python's garbage collector, where many objects are made that stay."""

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


MANY = 10_000
"""New objects before a collection during a run, where Python's own number is 700."""


@contextmanager
def fewer_collections() -> Generator[None]:
    """Look for cyclic garbage less often meanwhile.

    A run makes objects that stay until its end, and each look goes through those that are new: a fifth of the CPU time
    of a resume. Whoever asked for as few looks, or for none, keeps that.
    """
    usual = gc.get_threshold()
    if is_usual := 0 < usual[0] < MANY:
        gc.set_threshold(MANY, *usual[1:])
    try:
        yield
    finally:
        if is_usual:
            gc.set_threshold(*usual)
