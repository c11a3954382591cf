"""Files that a planned node may read: those that the person who asks for the plan has named, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from vibe_prefect.errors import Finding, Problem, UsageError
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.templates.texts import is_template
from vibe_prefect.tools.base import InputNames
from vibe_prefect.tools.registry import ToolRegistry

_PATTERN_SIGNS = "*?["


def checked_sources(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the files, folders and globs that a plan may read, each as a plain path below the input folder.

    Raises:
        UsageError: One is absolute, or leaves the input folder.
    """
    for source in sources:
        if not is_below(source):
            raise UsageError(f"source {source!r} is not a path below the input folder; name a file or a folder in it")
    return tuple(dict.fromkeys(str(PurePosixPath(source)) for source in sources))


def is_below(path: str) -> bool:
    """Return whether a path stays below the folder that it starts in, whatever the folder holds."""
    return bool(path.strip()) and not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts


def source_problems(compiled: CompiledPlan, tools: ToolRegistry, sources: Sequence[str]) -> Iterator[Problem]:
    """Yield each input of a node that names a file which the plan may not read.

    Args:
        compiled: The plan.
        tools: The tools that it names.
        sources: The files, folders and globs that it may read.
    """
    for node in compiled.nodes.values():
        for tool, field, inputs in _calls(node):
            for name, value in _read_paths(tools, tool, inputs):
                finding = _finding(value, sources)
                if finding is not None:
                    yield Problem(finding.message, node.id, f"{field}.{name}", hint=finding.hint)


def read_files(compiled: CompiledPlan, tools: ToolRegistry) -> tuple[str, ...]:
    """Return the files, folders and globs that a plan reads, as it names them; what a template names is left out."""
    values = (
        value
        for node in compiled.nodes.values()
        for tool, _, inputs in _calls(node)
        for _, value in _read_paths(tools, tool, inputs)
    )
    return tuple(dict.fromkeys(value for value in values if isinstance(value, str) and not is_template(value)))


def _calls(node: CompiledNode) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the tools that a node calls, each with the field of its inputs and the inputs."""
    if node.tool is not None:
        yield node.tool, "parameters.tool_inputs", node.inputs
    if node.scorer is not None and node.node.best_of is not None:
        yield node.scorer, "best_of.tool_inputs", node.node.best_of.tool_inputs


def _read_paths(tools: ToolRegistry, name: str, inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for field in sorted(InputNames.of(tools.get(name)).sources):
        if inputs.get(field) is not None:
            yield field, inputs[field]


def _finding(value: Any, sources: Sequence[str]) -> Finding | None:
    if is_template(value) or not isinstance(value, str):
        return Finding.advised("which file it reads is not known before the run", "name the file as it stands")
    if any(_covers(source, value) for source in sources):
        return None
    named = f"it may read {', '.join(sources)}" if sources else "name the files that it may read as sources"
    return Finding.advised(f"{value!r} is not a file that this plan may read", named)


def _covers(source: str, path: str) -> bool:
    """Return whether a path is a source, or lies in a folder that is one; hidden files must be named themselves."""
    wanted, allowed = PurePosixPath(path), PurePosixPath(source)
    if not is_below(path):
        return False
    if wanted == allowed:
        return True
    if any(sign in source for sign in _PATTERN_SIGNS) or not wanted.is_relative_to(allowed):
        return False
    return not any(part.startswith(".") for part in wanted.relative_to(allowed).parts)
