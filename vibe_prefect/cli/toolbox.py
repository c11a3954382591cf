"""The tools of a command: Prefect, which takes a second to import, is asked only where somebody has set something."""

from __future__ import annotations

import os
from pathlib import Path

from vibe_prefect.cli.environment import may_set_prefect, settings_files
from vibe_prefect.llm.config import SHORT_VARIABLE
from vibe_prefect.toolbox import equipped_registry
from vibe_prefect.tools.registry import ToolRegistry

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
TABLE = "vibe_prefect"


def command_registry() -> ToolRegistry:
    """Return the tools that plans can name, as the settings configure them.

    Raises:
        UsageError: A setting cannot be what it is set to.
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool.
    """
    if not _may_be_set():
        return equipped_registry()
    from vibe_prefect.engine.toolbox import configured_registry

    return configured_registry()


def _may_be_set() -> bool:
    if any(name.startswith(PREFIX) or name == SHORT_VARIABLE for name in os.environ):
        return True
    return any(may_set_prefect(path) and TABLE in _content(path) for path in settings_files())


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return ""
