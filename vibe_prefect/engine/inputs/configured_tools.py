"""The tools of a run, as the settings configure them."""

from __future__ import annotations

from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.settings.package import VibePrefectSettings, load_settings
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.tool_files import add_tool_files


def configured_registry(settings: VibePrefectSettings | None = None) -> ToolRegistry:
    """Return a new registry with everything that the settings configure; see `equipped_registry`.

    Args:
        settings: The settings; by default those of this moment.

    Raises:
        SettingsError: A setting cannot be what it is set to.
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool; or a file of tools
            does not load, or gives a tool a name that is taken.
    """
    settings = settings or load_settings()
    fetching = settings.fetch.config()
    servers = [server.server(name) for name, server in settings.mcp.items()]
    registry = equipped_registry(
        fetching, settings.media.config(fetching), settings.llm.config(settings.local), servers
    )
    add_tool_files(registry, settings.tools)
    registry.note_configured()
    return registry
