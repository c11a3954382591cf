"""The tools that come with the package. They need neither a network nor a model.

`check_links` asks for nothing over the network here, and the two tools of `drafts` ask no model; a registry with an
operator's settings replaces them.
"""

from __future__ import annotations

from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.builtin.approval import approve
from vibe_prefect.tools.builtin.drafts import judge_or_pass, llm_or_template
from vibe_prefect.tools.builtin.text_tools import combine, read_text, template_fill
from vibe_prefect.tools.builtin.title_card import image_card
from vibe_prefect.tools.checks.audio_check import check_audio
from vibe_prefect.tools.checks.image_check import check_image
from vibe_prefect.tools.checks.json_check import check_json
from vibe_prefect.tools.checks.link_check import links_tool
from vibe_prefect.tools.checks.text_check import check_text
from vibe_prefect.tools.files import write_file


def builtin_tools() -> tuple[Tool, ...]:
    """Return the built-in tools, sorted by name.

    A tool whose extra is not installed is among them: its `missing_extra` holds the command that
    installs it, and executing it fails with that command.
    """
    return (
        approve,
        check_audio,
        check_image,
        check_json,
        links_tool(),
        check_text,
        combine,
        image_card,
        judge_or_pass,
        llm_or_template,
        read_text,
        template_fill,
        write_file,
    )
