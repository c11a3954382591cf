"""What a function of a module depends on within the module, as one hash: its own source, and what it names there."""

from __future__ import annotations

import ast
import hashlib


class ModuleSource:
    """The statements at the top of a module, by the names that they bind."""

    def __init__(self, text: str) -> None:
        """Read a module.

        Args:
            text: Its source, which must compile.
        """
        self._lines = text.splitlines(keepends=True)
        self._statements = ast.parse(text).body
        self._spans = [_span(statement) for statement in self._statements]
        self._binding: dict[str, list[int]] = {}
        for index, statement in enumerate(self._statements):
            for name in _bound(statement):
                self._binding.setdefault(name, []).append(index)

    def version_of(self, line: int) -> str:
        """Return a hash of the statement on a line and of all that it names in this module, directly or not.

        Args:
            line: A line within the statement, from 1. Where it is in none, the whole module counts.
        """
        first = next((index for index, (start, end) in enumerate(self._spans) if start <= line <= end), None)
        used = range(len(self._statements)) if first is None else self._used_by(first)
        source = "".join(self._source(index) for index in sorted(used))
        return f"source-{hashlib.sha256(source.encode()).hexdigest()[:16]}"

    def _used_by(self, first: int) -> set[int]:
        used, waiting = {first}, [first]
        while waiting:
            for name in _read(self._statements[waiting.pop()]):
                new = set(self._binding.get(name, ())) - used
                used |= new
                waiting += new
        return used

    def _source(self, index: int) -> str:
        start, end = self._spans[index]
        return "".join(self._lines[start - 1 : end])


def _span(statement: ast.stmt) -> tuple[int, int]:
    """Return the first and the last line of a statement, its decorators included."""
    decorators: list[int] = [decorator.lineno for decorator in getattr(statement, "decorator_list", ())]
    return min([statement.lineno, *decorators]), statement.end_lineno or statement.lineno


def _bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def _read(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
