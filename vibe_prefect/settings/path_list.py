"""Lists of paths in a setting, apart from the others: one is needed before Prefect is imported."""

from __future__ import annotations

import os
from typing import cast

from pydantic_core import from_json


def listed_paths(text: str) -> tuple[str, ...]:
    """Return the paths that a text lists: a JSON list, or with the separator of PATH between them.

    Raises:
        ValueError: It begins as a JSON list, and is none of texts.
    """
    if not text.startswith("["):
        return tuple(path for path in text.split(os.pathsep) if path)
    paths = from_json(text)
    if not all(isinstance(path, str) for path in paths):
        raise ValueError("expected a list of texts")
    return tuple(cast("list[str]", paths))
