"""Which tools there are: the built-in ones, a caller's own, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from vibe_prefect.errors import ToolDefinitionError
from vibe_prefect.tools.base import Tool, ToolCategory, ToolSpec


class ToolRegistry:
    """Tools by name. A later tool of the same name replaces the earlier one."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._defaults: dict[str, str] = {}
        for tool in tools:
            self.register(tool)

    def register(self, tool: Tool) -> None:
        """Add a tool under the name in its spec.

        Raises:
            ToolDefinitionError: The object has no `spec` with a name, or no `execute`.
        """
        name = getattr(getattr(tool, "spec", None), "name", None)
        if not isinstance(name, str) or not name or not callable(getattr(tool, "execute", None)):
            raise ToolDefinitionError(f"{tool!r} is not a tool: it needs a `spec` with a name, and `execute`")
        self._tools[name] = tool
        self._defaults = {kind: tool for kind, tool in self._defaults.items() if tool != name}
        self._defaults |= {_word(kind): name for kind in getattr(tool, "default_for", ())}

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name, if there is one."""
        return self._tools.get(name)

    def default_for(self, node_type: str) -> str | None:
        """Return the name of the tool that runs nodes of a type which name none, if there is one."""
        return self._defaults.get(_word(node_type))

    def list_tools(self, category: ToolCategory | None = None) -> list[ToolSpec]:
        """Return the specs of all tools, or of one category's, sorted by name."""
        specs = sorted((tool.spec for tool in self._tools.values()), key=lambda spec: spec.name)
        return [spec for spec in specs if category is None or _word(spec.category) == _word(category)]

    def find_by_category(self, category: ToolCategory) -> list[Tool]:
        """Return the tools of one category, sorted by name."""
        return [self._tools[spec.name] for spec in self.list_tools(category)]

    def to_prompt_context(self) -> str:
        """Describe the tools for a planner's prompt, one block a tool."""
        return "\n\n".join(_describe(spec) for spec in self.list_tools())

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tools))

    def __len__(self) -> int:
        return len(self._tools)


class ForeignRegistry(Protocol):
    """A registry of another package, such as the reference's."""

    def get(self, name: str) -> Any:
        """Return the tool of that name, or `None`."""
        ...

    def list_tools(self) -> Iterable[Any]:
        """Return the specs of all tools."""
        ...


class _AdaptedRegistry(ToolRegistry):
    """A registry of another package with the methods of ours; tools are still looked up there."""

    def __init__(self, foreign: ForeignRegistry) -> None:
        super().__init__(foreign.get(spec.name) for spec in foreign.list_tools())
        self._foreign = foreign

    def get(self, name: str) -> Tool | None:
        try:
            return self._foreign.get(name)
        except KeyError:
            return None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None


def adapted(registry: ToolRegistry | ForeignRegistry) -> ToolRegistry:
    """Return a registry as one of ours.

    Args:
        registry: One of ours, which is returned itself, or one of another package.

    Raises:
        ToolDefinitionError: It has no `get` or no `list_tools`.
    """
    if isinstance(registry, ToolRegistry):
        return registry
    if not all(callable(getattr(registry, name, None)) for name in ("get", "list_tools")):
        raise ToolDefinitionError(f"{registry!r} is not a registry of tools: it needs `get` and `list_tools`")
    return _AdaptedRegistry(registry)


def _word(category: object) -> str:
    """Return a category's word: ours is text itself, a foreign tool's may be any enum."""
    return str(getattr(category, "value", category))


def _describe(spec: ToolSpec) -> str:
    properties: dict[str, Any] = spec.input_schema.get("properties", {})
    required = set(spec.input_schema.get("required", ()))
    inputs = ", ".join(name if name in required else f"{name} (optional)" for name in properties) or "none"
    return f"{spec.name} [{_word(spec.category)}]: {spec.description}\n  inputs: {inputs}"
