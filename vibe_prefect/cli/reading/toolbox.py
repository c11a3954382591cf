"""The tools of a command: Prefect, which takes a second to import, is asked only where a setting is set."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from vibe_prefect.tools.registry import ToolRegistry

TOOLS_HELP = "A Python file with tools of your own, each a function with @tool; may be given several times."
ToolsOption = Annotated[tuple[Path, ...], Parameter(name="--tools", negative="", show_default=False, help=TOOLS_HELP)]


def use_tool_files(files: tuple[Path, ...]) -> None:
    """Name the files of tools for this process and those that it starts, in place of those of the settings.

    Args:
        files: The files; none leaves the settings as they are.
    """
    if files:
        from vibe_prefect.tools.registry import TOOLS_VARIABLE

        os.environ[TOOLS_VARIABLE] = json.dumps([str(file.resolve()) for file in files])


def command_registry() -> ToolRegistry:
    """Return the tools that plans can name, as the settings configure them.

    Raises:
        UsageError: A setting has a value that it cannot have.
        ToolDefinitionError: An installed package's entry point does not load, or is not a tool; or a file of tools does
            not load, or gives a tool a name that is taken.
    """
    from vibe_prefect.cli.process.settings_files import may_set_ours

    if not may_set_ours():
        from vibe_prefect.llm.all_tools import equipped_registry

        registry = equipped_registry()
        if files := _stated_files():
            from vibe_prefect.tools.tool_files import add_tool_files

            add_tool_files(registry, files)
        registry.note_configured()
        return registry
    from vibe_prefect.engine.inputs.configured_tools import configured_registry

    return configured_registry()


def _stated_files() -> tuple[str, ...]:
    from vibe_prefect.errors import SettingsError
    from vibe_prefect.settings.path_list import listed_paths
    from vibe_prefect.tools.registry import TOOLS_VARIABLE

    try:
        return listed_paths(os.environ.get(TOOLS_VARIABLE, ""))
    except ValueError as error:
        raise SettingsError([f"{TOOLS_VARIABLE}: {error}"]) from None
