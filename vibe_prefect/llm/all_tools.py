"""All tools that come with the package, as an operator set them up."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.installed import default_registry
from vibe_prefect.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from vibe_prefect.llm.provider.model_config import ModelConfig
    from vibe_prefect.tools.builtin.media_tools import MediaConfig
    from vibe_prefect.tools.fetch.guard import FetchConfig
    from vibe_prefect.tools.mcp.endpoint import McpServer

REACHING = ("check_links", "comfyui_run", "http_fetch", "image_generate", "speech_generate")
"""Names of the tools that reach out."""


def equipped_registry(
    fetching: FetchConfig | None = None,
    media: MediaConfig | None = None,
    model: ModelConfig | None = None,
    mcp_servers: Iterable[McpServer] = (),
) -> ToolRegistry:
    """Return a new registry with the tools of `default_registry`, those that reach out, and those of a model.

    A tool that reaches out and is not set up is among them, and a plan that names it is refused with what to set. The
    model's tools are there only where there is a model: they also run nodes that name no tool.

    Args:
        fetching: What may be fetched; nothing by default.
        media: Who makes images and speech; nobody by default.
        model: The language model; none by default.
        mcp_servers: MCP servers with the tools that plans may name; none by default. Each is asked for its tools only
            when one of them is wanted.

    Raises:
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool.
    """
    registry = default_registry()
    for name in REACHING:
        registry.register_later(name, partial(_reaching_tool, name, fetching, media))
    if model is not None:
        from vibe_prefect.llm.provider.calls import Models
        from vibe_prefect.llm.toolset import model_tools

        for tool in model_tools(Models.of(model)):
            registry.register(tool)
    for server in mcp_servers:
        for name in server.tools:
            registry.register_later(server.tool_name(name), partial(_served_tool, server, name))
    return registry


def _served_tool(server: McpServer, name: str) -> Tool:
    from vibe_prefect.tools.mcp.served_tool import load_tool

    return load_tool(server, name)


@lru_cache(maxsize=8 * len(REACHING))
def _reaching_tool(name: str, fetching: FetchConfig | None, media: MediaConfig | None) -> Tool:
    """Return a tool that reaches out, made once for each configuration: making one takes 3 ms."""
    if name == "check_links":
        from vibe_prefect.tools.checks.link_check import links_tool

        return links_tool(fetching)
    if name == "http_fetch":
        from vibe_prefect.tools.fetch.http import fetch_tool

        return fetch_tool(fetching)
    from vibe_prefect.tools.builtin.media_tools import media_tool

    return media_tool(name, media)
