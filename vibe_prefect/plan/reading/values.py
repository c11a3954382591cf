"""Values that a plan may hold: those that JSON, the Prefect server and its databases hold as they stand.

One set of rules for plans from files, forms and programs. A value that slips through runs well and then breaks the
server's lists of runs for everybody, or hangs a run whose server is on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, cast

from pydantic import BaseModel

from vibe_prefect.characters import HALF
from vibe_prefect.core.models import WorkflowNode, WorkflowNodeType
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Finding, shorten

MAX_DEPTH = 200
"""Keys and indices that may lead to a value of a plan: readers of JSON take 200 to 255, the parameters of a run add
some."""

MAX_VALUES = 2_000_000
"""Values that a plan may hold, once YAML aliases are followed and whatever is shared is counted each time."""

MAX_SHOWN = 12
"""Keys and indices that a message shows of a path that is too deep."""

SMALLEST, LARGEST = -(2**63), 2**64 - 1
"""The integers that orjson, and so the server, writes."""

_PLAIN_KINDS = frozenset({bool, type(None), WorkflowNodeType})

SEVERAL_PLANS = "make several plans of it"


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """A value of a plan that cannot be kept as it stands."""

    path: DataPath
    """Path within the plan's data."""

    message: str
    """Text: what was found, and what to do."""

    hint: str | None = None
    """Remedy, as it also stands in the message."""


def value_finding(value: object) -> Finding | None:
    """Return what is wrong with a text or a number, and what to do; `None` where it can be kept."""
    match value:
        case str():
            return _text_finding(value)
        case int() if not SMALLEST <= value <= LARGEST:
            return Finding.advised(f"{shorten(value)} has more than 64 bits", "put it in quotes")
        case float() if not isfinite(value):
            return Finding(f"expected a finite number, found {value}")
        case _:
            return None


def half_finding(text: str) -> Finding:
    """Return what is wrong with a text that has half of a character in it."""
    half = HALF.search(text)
    escape = f"\\u{ord(half.group()):04x}" if half else ""
    return Finding.advised(f"{escape} is half a character", "write the character itself, or both halves")


def plain_texts(root: object) -> list[str] | None:  # noqa: C901 - one loop over every value of a plan, which no call may slow down
    """Return all texts of a plan, joined level by level, where all its values can be kept as they stand.

    This is the quick answer for nearly all plans: it keeps no paths. Where it is `None`, `value_problems` says what is
    wrong, if anything is.

    Args:
        root: A plan, or its data.
    """
    level: list[Any] = [root]
    joined: list[str] = []
    count = 0
    models: set[int] = set()
    for _ in range(MAX_DEPTH + 1):
        texts: list[Any] = []
        held: list[Any] = []
        for value in level:
            kind = type(value)  # pyright: ignore[reportUnknownVariableType] - a cast would be a call for each value
            if kind is str:
                texts.append(value)
            elif kind is dict:
                texts += value
                held += value.values()
            elif kind is list or kind is tuple:
                held += value
            elif kind not in _PLAIN_KINDS and id(value) not in models:
                if kind is WorkflowNode or isinstance(value, BaseModel):
                    models.add(id(value))  # most nodes share one policy, which states nothing
                    held += value.__dict__.values()
                elif not _is_plain_scalar(value):
                    return None
        count += len(level)
        text = _plain_text(texts)
        if count > MAX_VALUES or text is None:
            return None
        joined.append(text)
        if not held:
            return joined
        level = [value for value in held if value is not None]
    return None


def _plain_text(texts: list[str]) -> str | None:
    """Return texts joined, where all of them are plain: one search is quicker than thousands."""
    if not set(map(type, texts)) <= {str}:
        return None
    text = "".join(texts)
    return text if "\0" not in text and (text.isascii() or not HALF.search(text)) else None


def _is_plain_scalar(value: object) -> bool:
    if type(value) is int:
        return SMALLEST <= value <= LARGEST
    if type(value) is float:
        return isfinite(value)
    return isinstance(value, StrEnum)


def value_problems(root: object) -> Iterator[ValueProblem]:
    """Yield the values of a plan that cannot be kept, wherever they are; nothing recurses.

    Args:
        root: A plan, or its data. What is neither text nor number, mapping, list or model is passed over.
    """
    stack: list[tuple[object, DataPath]] = [(root, ())]
    count = 0
    while stack:
        value, path = stack.pop()
        count += 1
        if len(path) > MAX_DEPTH:
            yield ValueProblem(path[:MAX_SHOWN], f"nested more than {MAX_DEPTH} levels deep; flatten it", "flatten it")
            return  # a value that holds itself has no end
        if count > MAX_VALUES:
            yield ValueProblem((), f"more than {MAX_VALUES:,} values; {SEVERAL_PLANS}", SEVERAL_PLANS)
            return
        if finding := value_finding(value):
            yield ValueProblem(path, finding.message, finding.hint)
            continue
        for key, item in _parts(value):
            if isinstance(key, str) and (finding := _text_finding(key)):
                yield ValueProblem(path, f"the key {shorten(key)}: {finding.message}", finding.hint)
            else:
                stack.append((item, (*path, key)))


def _parts(value: object) -> Iterator[tuple[str | int, object]]:
    """Yield what a value holds, with its keys as JSON writes them; the last comes first, as a stack wants it."""
    match value:
        case BaseModel():
            yield from reversed(list(value))
        case Mapping():
            for key, item in reversed(list(cast("Mapping[object, object]", value).items())):
                yield key if isinstance(key, str) else str(key), item
        case list() | tuple() | set() | frozenset():
            yield from reversed(list(enumerate(cast("Iterable[object]", value))))
        case _:
            return


def _text_finding(text: str) -> Finding | None:
    if "\0" in text:
        nul = f"a NUL character (\\0) at position {text.index(chr(0)):,}"
        return Finding.advised(f"{nul}, which databases cannot hold", "leave it out")
    return half_finding(text) if not text.isascii() and HALF.search(text) else None
