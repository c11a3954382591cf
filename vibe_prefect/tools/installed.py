"""The tools that are there without a word: those that are built in, and those that installed packages bring."""

from __future__ import annotations

import os
import sys
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points

from vibe_prefect.errors import ToolDefinitionError
from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.builtin.registered import PLACES, builtin_tool
from vibe_prefect.tools.registry import ToolRegistry

ENTRY_POINT_GROUP = "vibe_prefect.tools"
"""A package that brings tools names each of them, an instance or a class, in this entry-point group."""


def default_registry() -> ToolRegistry:
    """Return a new registry with the built-in tools and those of installed packages.

    Raises:
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool.
    """
    registry = ToolRegistry()
    for name in PLACES:
        registry.register_later(name, partial(builtin_tool, name))
    for entry in _installed(tuple(map(_place, sys.path))):
        registry.register(_load(entry))
    return registry


def _place(folder: str) -> tuple[str, int | None]:
    """Return a folder of the import path, and the time of the last change in it, as packages come and go."""
    path = os.path.abspath(folder)  # noqa: PTH100 - a folder of the import path may be empty, or no folder at all
    try:
        return path, os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        return path, None


@lru_cache(maxsize=4)
def _installed(_places: tuple[tuple[str, int | None], ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of installed packages, sorted by name; looking through all packages takes 6 ms."""
    return tuple(sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name))


def _load(entry: EntryPoint) -> Tool:
    try:
        loaded = entry.load()
        return loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        package = entry.dist.name if entry.dist else "an installed package"
        raise ToolDefinitionError(
            f"the tool {entry.name!r} of {package!r} ({entry.value}) does not load: {type(error).__name__}: {error}; "
            "mend or uninstall that package"
        ) from error
