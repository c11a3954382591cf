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
"""

from vibe_prefect.tools.base import (
    BaseTool,
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
