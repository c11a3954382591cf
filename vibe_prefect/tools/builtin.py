"""The tools that come with the package. They need neither a network nor a model."""

from __future__ import annotations

from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.checks import check_text
from vibe_prefect.tools.files import write_file
from vibe_prefect.tools.images import image_card
from vibe_prefect.tools.text import combine, read_text, template_fill


def builtin_tools() -> tuple[Tool, ...]:
    """Return the built-in tools, sorted by name.

    A tool whose extra is not installed is among them: its `missing_extra` holds the command that
    installs it, and executing it fails with that command.
    """
    return (check_text, combine, image_card, read_text, template_fill, write_file)
