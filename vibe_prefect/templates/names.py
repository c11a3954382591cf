"""Names in a template: outputs of other nodes, parts of these, and other names. Nothing is evaluated for that."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from vibe_prefect.templates.reads import NO_READS, FieldAccess, Path, Reads, References
from vibe_prefect.templates.texts import MAX_TOKENS, TEMPLATE_NAMES


@lru_cache(maxsize=4096)
def references(text: str) -> References:
    """Return what a template names.

    Raises:
        InvalidTemplateError: The template does not parse, or names a filter that does not exist; the message names
            the line within it.
    """
    plain = plain_references(text)
    if plain is not None:
        return plain
    from vibe_prefect.templates.trees import tree_references  # with Jinja, which takes a tenth of a quick command

    return tree_references(text)


_KEY = r"[A-Za-z0-9 ._-]*"
_STEP = rf"\.[A-Za-z_][A-Za-z0-9_]*|\[(?:0|[1-9][0-9]{{0,8}}|'{_KEY}'|\"{_KEY}\")\]"
_PLAIN = re.compile(rf"\{{\{{[ \t\r\n]*({'|'.join(sorted(TEMPLATE_NAMES))})((?:{_STEP}){{0,20}})[ \t\r\n]*\}}\}}")
"""An expression that names one value or a part of it, such as `{{ outputs.digest.text }}`."""

_STEPS = re.compile(rf"\.([A-Za-z0-9_]+)|\[([0-9]+)\]|\[['\"]({_KEY})['\"]\]")


_READ = ("outputs", "inputs", "run")
"""Mappings of which `References` has the parts that are read."""


def plain_references(text: str) -> References | None:
    """Return what a template names that holds no expressions but names of values and of their parts.

    Nearly all templates of a plan are like that, and Jinja takes a hundred times as long to read one.

    Args:
        text: The template.

    Returns:
        The same as Jinja's own reading of it would show; `None` for a template that has anything else in it.
    """
    # "{{{" and what is no plain expression: Jinja says what they mean. No text has more tokens than characters.
    if "{%" in text or "{#" in text or "{{{" in text or len(text) > MAX_TOKENS:
        return None
    found: list[tuple[str, str]] = _PLAIN.findall(text)
    if len(found) != text.count("{{"):
        return None
    paths: dict[str, dict[Path, None]] = {}
    for name, steps in found:
        parts = [int(index) if index else field or key for field, index, key in _STEPS.findall(steps)]
        paths.setdefault(name, {})[tuple(parts)] = None
    outputs, inputs, run = [_plain_reads(paths[root]) if root in paths else NO_READS for root in _READ]
    names = frozenset(paths.keys() - {"outputs"})
    return References(outputs.names, outputs.fields, {}, names, outputs.any, inputs, run)


def _plain_reads(paths: Collection[Path]) -> Reads:
    names: dict[str, None] = {}
    fields: list[FieldAccess] = []
    for path in paths:
        if path and isinstance(path[0], str):
            names[path[0]] = None
            if len(path) > 1:
                fields.append(FieldAccess(path[0], path[1:]))
    return Reads(tuple(names), tuple(fields), () in paths)


def place_of(text: str, *names: str) -> tuple[int, int] | None:
    """Return the line and the column, from 0, at which a template first has these names one after the other.

    Args:
        text: The template.
        *names: A name, or a mapping such as `outputs` and one of its keys.
    """
    between = r"(?:\s*\.\s*|\s*\[\s*['\"])"
    found = re.search(rf"(?<![\w.]){between.join(map(re.escape, names))}(?!\w)", text)
    if found is None:
        return None
    return text.count("\n", 0, found.start()), found.start() - text.rfind("\n", 0, found.start()) - 1
