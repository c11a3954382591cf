"""The tools of a run as a value that another process can make tools of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.errors import NotSentError
from vibe_prefect.plan.compiler import Backing, CompiledNode
from vibe_prefect.tools.base import Tool
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.secrecy.redaction import redact_logs
from vibe_prefect.tools.tool_files import add_tool_files


@dataclass(frozen=True, slots=True)
class PortableTools:
    """A source of tools: those that the settings of the machine configure, and some of the run's own."""

    files: tuple[str, ...] = ()
    """Files of tools that the run has."""

    own: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    """Tools that the caller of the run registered, by name."""

    def __call__(self) -> ToolRegistry:
        """Return the tools, where the work is done.

        Raises:
            NotSentError: A file of tools is not there.
            SettingsError: A setting of the machine cannot be what it is.
        """
        redact_logs()
        if not self.own:
            return _registry(self.files, _state_of(self.files))
        registry = _new_registry(self.files)
        for tool in self.own.values():
            registry.register(tool)
        return registry


def portable_tools(registry: ToolRegistry, node: CompiledNode) -> PortableTools:
    """Return the tools that a node needs as a value.

    Args:
        registry: The tools of the run.
        node: The node. A handler may call any tool, so that it needs all.
    """
    own = registry.own_tools
    if node.backing is not Backing.HANDLER:
        own = {name: own[name] for name in (node.tool, node.scorer) if name is not None and name in own}
    files = {name: registry.file_of(name) for name in own}
    sent = {name: tool for name, tool in own.items() if files[name] is None}
    return PortableTools(tuple(str(path) for path in registry.files), sent)


@lru_cache(maxsize=8)
def _registry(files: tuple[str, ...], _state: tuple[int | None, ...]) -> ToolRegistry:
    return _new_registry(files)


def _new_registry(files: tuple[str, ...]) -> ToolRegistry:
    registry = configured_registry()
    known = set(registry.files)
    missing = [path for path in files if Path(path) not in known]
    if absent := [path for path in missing if not Path(path).is_file()]:
        raise NotSentError(
            f"the file of tools {absent[0]!r} is not on the machine of the placement; copy it there, and name it in "
            "the setting `tools` of that machine"
        )
    add_tool_files(registry, missing)
    return registry


def _state_of(files: tuple[str, ...]) -> tuple[int | None, ...]:
    """Return the times of the last changes of files, so that a changed one is read again."""
    return tuple(Path(path).stat().st_mtime_ns if Path(path).is_file() else None for path in files)
