"""Registry of tools: the built-in ones, a caller's own, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from vibe_prefect.errors import Finding, ToolDefinitionError, did_you_mean
from vibe_prefect.tools.base import TRAITS, BaseTool, Tool, ToolCategory, ToolSpec, ToolTraits, refuse_trait
from vibe_prefect.tools.secrecy.key_sources import KeySource

LLM_TOOL = "llm_generate"
"""The tool that generate nodes use when they name none, it is registered, and no other tool runs them by default."""

APPROVE_TOOL = "approve"
"""The tool that asks a person."""

MODEL_TOOLS = frozenset({LLM_TOOL, "judge"})
"""Tools that are there only where a model is configured."""

MODELS_VARIABLE = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_MODELS"
SHORT_VARIABLE = "VIBE_PREFECT_MODEL"
HOW_TO_CONFIGURE = f"set {SHORT_VARIABLE} or {MODELS_VARIABLE}, such as openai:gpt-5-mini, and the provider's key"
"""Instruction for operators who want the tools of a model."""

TOOLS_VARIABLE = "PREFECT_INTEGRATIONS_VIBE_PREFECT_TOOLS"
HOW_TO_ADD = f"a file with tools of your own is named by --tools or {TOOLS_VARIABLE}"
"""Instruction for a tool that is not there."""

HOW_TO_RUN = f"name a tool in parameters.tool, configure a model ({HOW_TO_CONFIGURE}), or simulate the run"
"""Instruction for a node that nothing can run."""


class ToolRegistry:
    """Tools by name. A later tool of the same name replaces the earlier one."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._defaults: dict[str, str] = {}
        self._later: dict[str, Callable[[], Tool]] = {}
        self._files: dict[str, Path] = {}
        self._own: dict[str, Tool] = {}
        for tool in tools:
            self.register(tool)

    def register(self, tool: Tool, *, file: Path | None = None) -> None:
        """Add a tool under the name in its spec.

        Args:
            tool: The tool.
            file: The file of the operator's that defines it; `None` for a tool that is built in, installed or the
                caller's own.

        Raises:
            ToolDefinitionError: The object has no `spec` with a name, or no `execute`; or it misspells a trait.
        """
        name = getattr(getattr(tool, "spec", None), "name", None)
        if not isinstance(name, str) or not name or not callable(getattr(tool, "execute", None)):
            raise ToolDefinitionError(f"{tool!r} is not a tool: it needs a `spec` with a name, and `execute`")
        _refuse_misspelt_traits(tool, name)
        self._add(name, tool)
        self._own[name] = tool
        self._files |= {name: file} if file is not None else {}

    def _add(self, name: str, tool: Tool) -> None:
        self._remove(name)
        self._tools[name] = tool
        self._defaults |= {_word(kind): name for kind in ToolTraits.of(tool).default_for}

    def _remove(self, name: str) -> None:
        for known in (self._tools, self._later, self._files, self._own):
            known.pop(name, None)
        self._defaults = {kind: tool for kind, tool in self._defaults.items() if tool != name}

    @property
    def own_tools(self) -> Mapping[str, Tool]:
        """The tools that were registered one by one, by name; the settings need not make them on another machine."""
        return self._own

    def note_configured(self) -> None:
        """Note that the settings make all tools of this registry, and so on every machine with the same settings."""
        self._own = {}

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name, if there is one."""
        if load := self._later.get(name):
            self._add(name, load())
        return self._tools.get(name)

    def register_later(self, name: str, load: Callable[[], Tool]) -> None:
        """Add a tool that takes time to import, and is imported when it is asked for.

        Args:
            name: Its name. It runs no node that names no tool.
            load: Returns it, the same one each time.
        """
        self._remove(name)
        self._later[name] = load

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the operator's that define tools."""
        return tuple(dict.fromkeys(self._files.values()))

    def file_of(self, name: str) -> Path | None:
        """Return the file of the operator's that defines a tool; `None` for any other tool."""
        return self._files.get(name)

    def is_packaged(self, name: str) -> bool:
        """Return whether this package brings the tool of that name."""
        tool = self.get(name)
        source = ToolTraits.of(tool).source_object or type(tool)
        return str(getattr(source, "__module__", "")).startswith(f"{__name__.partition('.')[0]}.tools.")

    def traits(self, name: str | None) -> ToolTraits:
        """Return the traits of the tool of that name; those of a tool that states none where there is no such tool."""
        return ToolTraits.of(self.get(name) if name else None)

    def default_for(self, node_type: str) -> str | None:
        """Return the name of the tool that runs nodes of a type which name none, if there is one."""
        default = self._defaults.get(_word(node_type))
        if default is None and _word(node_type) == "generate" and LLM_TOOL in self:
            return LLM_TOOL
        return default

    def unknown_tool(self, name: str) -> Finding:
        """Return what is wrong with a node that names a tool which is not there, and what to do."""
        if name in MODEL_TOOLS:
            return Finding(f"the tool {name!r} needs a model, and none is configured: {HOW_TO_CONFIGURE}")
        hint = did_you_mean(name, self) or f"registered tools: {', '.join(self) or 'none'}; {HOW_TO_ADD}"
        return Finding.advised(f"unknown tool {name!r}", hint)

    def key_sources(self, names: Collection[str]) -> Mapping[KeySource, tuple[str, ...]]:
        """Return the sources of all keys that tools use, each with the names of the tools.

        Args:
            names: The tools that are used.
        """
        sources: dict[KeySource, tuple[str, ...]] = {}
        for name in sorted(names):
            for source in self.traits(name).key_sources:
                sources[source] = (*sources.get(source, ()), name)
        return sources

    def list_tools(self, category: ToolCategory | None = None) -> list[ToolSpec]:
        """Return the specs of all tools, or of one category's, sorted by name."""
        for name in tuple(self._later):
            self.get(name)
        specs = sorted((tool.spec for tool in self._tools.values()), key=lambda spec: spec.name)
        return [spec for spec in specs if category is None or _word(spec.category) == _word(category)]

    def find_by_category(self, category: ToolCategory) -> list[Tool]:
        """Return the tools of one category, sorted by name."""
        return [self._tools[spec.name] for spec in self.list_tools(category)]

    def to_prompt_context(self) -> str:
        """Describe the tools for a planner's prompt, one block a tool."""
        return "\n\n".join(_describe(spec) for spec in self.list_tools())

    def __contains__(self, name: object) -> bool:
        return name in self._tools or name in self._later

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._tools, *self._later}))

    def __len__(self) -> int:
        return len(self._tools) + len(self._later)


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


def _refuse_misspelt_traits(tool: Tool, name: str) -> None:
    """Raise for an attribute of a tool of ours whose name is nearly a trait's; a foreign tool may have any."""
    if not isinstance(tool, BaseTool):
        return
    from difflib import get_close_matches

    for attribute in sorted({*dir(tool)} - {*dir(BaseTool)}):
        if not attribute.startswith("_") and get_close_matches(attribute, TRAITS, n=1, cutoff=0.85):
            refuse_trait(attribute, name)


def _word(category: object) -> str:
    """Return a category's word: ours is text itself, a foreign tool's may be any enum."""
    return str(getattr(category, "value", category))


def _describe(spec: ToolSpec) -> str:
    properties: dict[str, Any] = spec.input_schema.get("properties", {})
    required = set(spec.input_schema.get("required", ()))
    inputs = ", ".join(name if name in required else f"{name} (optional)" for name in properties) or "none"
    return f"{spec.name} [{_word(spec.category)}]: {spec.description}\n  inputs: {inputs}"
