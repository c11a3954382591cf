"""Tools from files of the operator's own, which `--tools` or the setting `tools` names; a plan can name no file."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import lru_cache
from hashlib import sha256
from importlib.util import decode_source
from pathlib import Path
from traceback import extract_tb
from types import CodeType, ModuleType
from typing import Any

from vibe_prefect.errors import ToolDefinitionError
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.base import BaseTool, Tool, ToolTraits
from vibe_prefect.tools.functions import FunctionTool
from vibe_prefect.tools.module_source import ModuleSource
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.secrecy.redaction import scrubbed_data

MAX_FILE_BYTES = 5_000_000
"""The largest file of tools that is read."""

_MAX_MESSAGE = 500
"""Characters of an error that a file raises when it is loaded."""


def add_tool_files(registry: ToolRegistry, files: Iterable[str]) -> None:
    """Register the tools that files define: every tool with a name of its own at the top of a file.

    A file is executed again when its content has changed.

    Args:
        registry: The registry that gets them.
        files: Paths of Python files.

    Raises:
        ToolDefinitionError: A file cannot be read, fails, or defines no tool; or a tool's name is taken.
    """
    for path in dict.fromkeys(Path(file).resolve() for file in files):
        for tool in _tools_of(path, _content(path)):
            _refuse_taken(registry, tool, path)
            registry.register(tool, file=path)


def shown_path(path: Path) -> str:
    """Return a path for people: relative to the working folder where the file is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _content(path: Path) -> bytes:
    try:
        content = read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        reason = error.strerror or error
        raise ToolDefinitionError(f"the file of tools {shown_path(path)!r} cannot be read: {reason}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ToolDefinitionError(
            f"the file of tools {shown_path(path)!r} has more than {MAX_FILE_BYTES:,} bytes; have it import the rest"
        )
    return content


@lru_cache(maxsize=64)
def _tools_of(path: Path, content: bytes) -> tuple[BaseTool, ...]:
    """Execute a file, and return its tools in the order of their names."""
    module = ModuleType(f"tools_file_{sha256(str(path).encode()).hexdigest()[:12]}")
    module.__file__ = str(path)
    source = _execute(module, path, content)
    values = dict.fromkeys(value for value in vars(module).values() if isinstance(value, BaseTool))
    if not values:
        raise ToolDefinitionError(
            f"{shown_path(path)} defines no tool: put @tool, from vibe_prefect, above a function with typed arguments"
        )
    for tool in values:
        _state_version(tool, source, path)
    return tuple(sorted(values, key=lambda tool: tool.spec.name))


def _execute(module: ModuleType, path: Path, content: bytes) -> ModuleSource:
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # at the end: a file beside it hides no package
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # dataclasses and models look up the module that defines them
    try:
        text = decode_source(content)
        lines = text.splitlines(keepends=True)
        linecache.cache[str(path)] = (len(text), None, lines, str(path))  # the text that runs, whatever becomes of it
        with redirect_stdout(sys.stderr):  # standard output may be one JSON document
            exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102 - the operator's code
        return ModuleSource(text)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the file raises is its fault
        sys.modules.pop(module.__name__)
        sys.modules.update({module.__name__: before} if before is not None else {})
        raise _failure(path, error) from None


def _failure(path: Path, error: BaseException) -> ToolDefinitionError:
    """Build the error for a file that does not load; it names the line of the file that led to it."""
    frames = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1] if frames else None
    text = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, text = error.lineno, error.msg
    stated = text if isinstance(error, ToolDefinitionError) else f"{type(error).__name__}: {text}"
    place = shown_path(path) if line is None else f"{shown_path(path)}:{line}"
    return ToolDefinitionError(f"{place}: {scrubbed_data(' '.join(stated[:_MAX_MESSAGE].split()))}")


def _state_version(tool: BaseTool, source: ModuleSource, path: Path) -> None:
    """Give a function's tool the hash of all that the function uses in its file as version, unless it states one."""
    line = _line(tool, path)
    if isinstance(tool, FunctionTool) and ToolTraits.of(tool).version is None and line is not None:
        tool.state(version=source.version_of(line))


def _refuse_taken(registry: ToolRegistry, tool: BaseTool, path: Path) -> None:
    other = registry.get(tool.spec.name)
    if other is not None and other is not tool:
        raise ToolDefinitionError(
            f"{_place(tool, path)}: the tool {tool.spec.name!r} is there already, defined in "
            f"{_place(other, registry.file_of(tool.spec.name))}; give one of them another name"
        )


def _place(tool: Tool, file: Path | None) -> str:
    """Return where a tool is defined: in a file of tools with its line, else the module."""
    if file is None:
        return f"the module {getattr(_subject(tool), '__module__', None) or type(tool).__module__}"
    line = _line(tool, file)
    return shown_path(file) if line is None else f"{shown_path(file)}:{line}"


def _line(tool: Tool, file: Path) -> int | None:
    """Return the line of a file at which a tool's function begins; `None` where it is none of the file's functions."""
    code: CodeType | None = getattr(_subject(tool), "__code__", None)
    return code.co_firstlineno if code is not None and code.co_filename == str(file) else None


def _subject(tool: Tool) -> Any:
    subject = ToolTraits.of(tool).source_object
    return inspect.unwrap(subject) if callable(subject) else type(tool)
