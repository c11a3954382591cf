"""The tools that make images, speech and whatever a ComfyUI makes, as the operator set them up."""

from __future__ import annotations

from dataclasses import dataclass, field

from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.comfy_server import ComfyServer
from vibe_prefect.tools.comfyui import comfyui_tool
from vibe_prefect.tools.net import FetchConfig
from vibe_prefect.tools.openai_media import OpenAIEndpoint, image_tool, speech_tool


@dataclass(frozen=True)
class MediaConfig:
    """Whom the media tools may ask. By default: nobody."""

    images: OpenAIEndpoint | None = None
    """Who makes images for `image_generate`."""

    speech: OpenAIEndpoint | None = None
    """Who speaks for `speech_generate`."""

    voice: str = "alloy"
    """Who speaks unless a plan says otherwise."""

    comfyui: ComfyServer | None = None
    """Where `comfyui_run` submits workflows."""

    fetch: FetchConfig = field(default_factory=FetchConfig)
    """Where an image may be fetched from, when an endpoint answers with an address and no image."""


def media_tools(config: MediaConfig | None = None) -> tuple[Tool, ...]:
    """Return the media tools, sorted by name.

    One that the operator has not set up is among them: its `missing_setting` says what to set, and a plan that names it
    is refused with that.
    """
    given = config or MediaConfig()
    return (
        comfyui_tool(given.comfyui),
        image_tool(given.images, given.fetch),
        speech_tool(given.speech, given.voice),
    )
