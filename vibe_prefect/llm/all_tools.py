"""All tools that come with the package, as an operator set them up."""

from __future__ import annotations

from functools import lru_cache

from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.llm.toolset import model_tools
from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.builtin.media_tools import MediaConfig, media_tools
from vibe_prefect.tools.checks.link_check import links_tool
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.fetch.http import fetch_tool
from vibe_prefect.tools.installed import default_registry
from vibe_prefect.tools.registry import ToolRegistry


def equipped_registry(
    fetching: FetchConfig | None = None, media: MediaConfig | None = None, model: ModelConfig | None = None
) -> ToolRegistry:
    """Return a new registry with the tools of `default_registry`, those that reach out, and those of a model.

    A tool that reaches out and is not set up is among them, and a plan that names it is refused with what to set. The
    model's tools are there only where there is a model: they also run nodes that name no tool.

    Args:
        fetching: What may be fetched; nothing by default.
        media: Who makes images and speech; nobody by default.
        model: The language model; none by default.

    Raises:
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool.
    """
    registry = default_registry()
    for tool in _reaching_tools(fetching, media):
        registry.register(tool)
    for tool in model_tools(Models.of(model)) if model is not None else ():
        registry.register(tool)
    return registry


@lru_cache(maxsize=8)
def _reaching_tools(fetching: FetchConfig | None, media: MediaConfig | None) -> tuple[Tool, ...]:
    """Return the tools that reach out, made once for each configuration: making them takes 60 ms."""
    return (links_tool(fetching), fetch_tool(fetching), *media_tools(media))
