"""The tools that come with the package. They need neither a network nor a model.

`check_links` asks for nothing over the network here, and the two tools of `drafts` ask no model; a registry with an
operator's settings replaces them. A tool is imported when it is asked for: all of them take 0.1 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from vibe_prefect.tools.base import Tool

_BUILTIN = "vibe_prefect.tools.builtin"
_CHECKS = "vibe_prefect.tools.checks"

PLACES: Mapping[str, tuple[str, str]] = {
    "approve": (f"{_BUILTIN}.approval", "approve"),
    "check_audio": (f"{_CHECKS}.audio_check", "check_audio"),
    "check_image": (f"{_CHECKS}.image_check", "check_image"),
    "check_json": (f"{_CHECKS}.json_check", "check_json"),
    "check_links": (f"{_CHECKS}.link_check", "links_tool"),
    "check_text": (f"{_CHECKS}.text_check", "check_text"),
    "combine": (f"{_BUILTIN}.text_tools", "combine"),
    "image_card": (f"{_BUILTIN}.title_card", "image_card"),
    "judge_or_pass": (f"{_BUILTIN}.drafts", "judge_or_pass"),
    "llm_or_template": (f"{_BUILTIN}.drafts", "llm_or_template"),
    "read_text": (f"{_BUILTIN}.text_tools", "read_text"),
    "template_fill": (f"{_BUILTIN}.text_tools", "template_fill"),
    "write_file": ("vibe_prefect.tools.files", "write_file"),
}
"""Module and attribute of each built-in tool, by name: the tool, or a function that makes it."""


@cache
def builtin_tool(name: str) -> Tool:
    """Return the built-in tool of a name.

    A tool whose extra is not installed is among them: its `missing_extra` holds the command that
    installs it, and executing it fails with that command.
    """
    module, attribute = PLACES[name]
    found: Any = getattr(import_module(module), attribute)
    return found if hasattr(found, "spec") else found()


def builtin_tools() -> tuple[Tool, ...]:
    """Return the built-in tools, sorted by name."""
    return tuple(map(builtin_tool, PLACES))
