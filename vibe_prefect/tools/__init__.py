"""Tools do the work of nodes: the built-in ones, your own, and those of installed packages.

A tool is a function with typed arguments; pydantic makes its input schema of them:

```python
from vibe_prefect.tools import ToolRegistry, tool


@tool(version="1")
def shout(text: str) -> dict[str, str]:
    "Say it louder."
    return {"text": text.upper()}


registry = ToolRegistry([shout])
```

`default_registry()` holds the built-in tools and those of installed packages. A tool that needs
more than a function derives from `BaseTool`.

A name is imported at its first use: parts of this package are used by commands that need no tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_prefect.lazy_names import lazy_names

if TYPE_CHECKING:
    from vibe_prefect.tools.base import (
        BaseTool,
        InputPath,
        OutputFolder,
        OutputPath,
        TemplateText,
        Tool,
        ToolCategory,
        ToolContext,
        ToolResult,
        ToolSpec,
    )
    from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool
    from vibe_prefect.tools.installed import default_registry
    from vibe_prefect.tools.registry import ToolRegistry
    from vibe_prefect.tools.workspace import FileRef, Workspace

__all__ = [
    "BaseTool",
    "FileRef",
    "FunctionTool",
    "InputPath",
    "OutputFolder",
    "OutputPath",
    "TemplateText",
    "Tool",
    "ToolCategory",
    "ToolContext",
    "ToolInputError",
    "ToolRegistry",
    "ToolResult",
    "ToolSpec",
    "Workspace",
    "default_registry",
    "tool",
]

_MODULES = {
    "BaseTool": "vibe_prefect.tools.base",
    "FileRef": "vibe_prefect.tools.workspace",
    "FunctionTool": "vibe_prefect.tools.functions",
    "InputPath": "vibe_prefect.tools.base",
    "OutputFolder": "vibe_prefect.tools.base",
    "OutputPath": "vibe_prefect.tools.base",
    "TemplateText": "vibe_prefect.tools.base",
    "Tool": "vibe_prefect.tools.base",
    "ToolCategory": "vibe_prefect.tools.base",
    "ToolContext": "vibe_prefect.tools.base",
    "ToolInputError": "vibe_prefect.tools.functions",
    "ToolRegistry": "vibe_prefect.tools.registry",
    "ToolResult": "vibe_prefect.tools.base",
    "ToolSpec": "vibe_prefect.tools.base",
    "Workspace": "vibe_prefect.tools.workspace",
    "default_registry": "vibe_prefect.tools.installed",
    "tool": "vibe_prefect.tools.functions",
}
"""Module of each name."""


__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
