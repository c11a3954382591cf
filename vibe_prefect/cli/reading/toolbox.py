"""The tools of a command: Prefect, which takes a second to import, is asked only where a setting is set."""

from __future__ import annotations

from vibe_prefect.cli.process.settings_files import may_set_ours
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.tools.registry import ToolRegistry


def command_registry() -> ToolRegistry:
    """Return the tools that plans can name, as the settings configure them.

    Raises:
        UsageError: A setting has a value that it cannot have.
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool.
    """
    if not may_set_ours():
        return equipped_registry()
    from vibe_prefect.engine.inputs.configured_tools import configured_registry

    return configured_registry()
