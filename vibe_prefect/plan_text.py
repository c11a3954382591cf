"""From a text, JSON or YAML, to plain data and the places of its values.

Both are composed to one kind of tree, and one walk turns the tree into data, so the same rules hold for both: no key
twice, numbers of 64 bits that are finite, whole characters. Nothing here recurses, so depth costs no stack.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from json import decoder
from math import isfinite
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from vibe_prefect.errors import UsageError, shorten
from vibe_prefect.graph import DataPath, PlanLimits

MAX_VALUES = 2_000_000
"""How many values a text may hold once its YAML aliases are followed."""

MAX_PATH = 500
"""How many keys and indices may lead to a value."""

TOO_DEEP = f"nested too deeply to be a plan; nodes may be nested {PlanLimits().max_depth} deep"

_scan_text = cast("Any", decoder).scanstring
_TAG = "tag:yaml.org,2002:"
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_HALF = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(r'[{}\[\]"]|[^\s,:{}\[\]"]+')


class TextError(UsageError, ValueError):
    """A text that is neither JSON nor YAML, or larger than what is read."""

    def __init__(self, message: str, line: int | None = None, column: int = 0) -> None:
        """Tell what is wrong with a text.

        Args:
            message: What was found and what was expected.
            line: Line of the place, from 0; `None` for the text as a whole.
            column: Column of the place, from 0.
        """
        self.message = message
        self.line = line
        self.column = column
        super().__init__(message, line, column)

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that cannot be taken as it stands; something harmless stands in its place, or it is left out."""

    path: DataPath
    """Where in the data."""

    message: str
    """What was found and what was expected."""

    at: tuple[int, int] | None = None
    """Its line and column in the text, from 0; `None` without a text."""

    of_key: bool = False
    """Whether the message is about the key rather than the value."""

    replaced: bool = True
    """Whether the data at the path are not what was written."""

    dropped: frozenset[str] = frozenset()
    """Texts within a value that was left out."""


@dataclass(frozen=True)
class Tree:
    """A text as data."""

    data: Any
    """Text, numbers, booleans and null in lists and dicts."""

    places: Mapping[DataPath, tuple[int, int]]
    """Line and column of each value, from 0."""

    faults: tuple[Fault, ...]
    """Values that cannot be taken as they stand, in no order."""


def compose_yaml(text: str) -> Any:
    """Return the tree of a YAML text.

    Raises:
        TextError: It is not YAML.
        RecursionError: It is nested too deeply.
    """
    text = _whole(text)
    if half := _HALF.search(text):
        line = text.count("\n", 0, half.start())
        raise TextError(_half_message(text), line, half.start() - text.rfind("\n", 0, half.start()) - 1)
    yaml = YAML(typ="safe", pure=True)
    try:
        return cast("Any", yaml).compose(io.StringIO(text))
    except MarkedYAMLError as error:
        found = cast("Any", error)
        mark = found.problem_mark or found.context_mark
        words = " ".join(part for part in (found.context, found.problem) if part)
        raise TextError(f"not YAML: {words}", *((mark.line, mark.column) if mark else ())) from None
    except YAMLError as error:
        raise TextError(f"not YAML: {error}") from None


@dataclass(frozen=True, slots=True)
class _Mark:
    line: int
    column: int


def compose_json(text: str) -> Any:
    """Return the tree of a text that Python's JSON reader takes: the same key twice, NaN and Infinity included."""
    lines = list(accumulate((len(line) for line in text.split("\n")), lambda end, length: end + length + 1, initial=0))
    root: list[Any] = []
    stack: list[Any] = [SequenceNode(f"{_TAG}seq", root)]
    keys: list[Any] = [None]
    position: int = 0
    while token := _TOKEN.search(text, position):
        position = token.end()
        line = bisect_right(lines, token.start()) - 1
        mark = _Mark(line, token.start() - lines[line])
        match token.group():
            case "}" | "]":
                stack.pop()
                keys.pop()
                continue
            case "{":
                node: Any = MappingNode(f"{_TAG}map", [], mark)
            case "[":
                node = SequenceNode(f"{_TAG}seq", [], mark)
            case '"':
                scanned: tuple[str, int] = _scan_text(text, position, False)
                value, position = scanned
                node = ScalarNode(f"{_TAG}str", value, mark)
            case word:
                node = ScalarNode(f"{_TAG}{_json_kind(word)}", word, mark)
        if isinstance(stack[-1], MappingNode) and keys[-1] is None:
            keys[-1] = node
            continue
        cast("list[Any]", stack[-1].value).append(node if keys[-1] is None else (keys[-1], node))
        keys[-1] = None
        if not isinstance(node, ScalarNode):
            stack.append(node)
            keys.append(None)
    return root[0]


def _json_kind(word: str) -> str:
    if word in ("null", "true", "false"):
        return "null" if word == "null" else "bool"
    return "int" if word.lstrip("-").isdigit() else "float"


def read_tree(root: Any) -> Tree:
    """Turn a composed tree into data.

    Raises:
        TextError: It holds too many values, is nested too deeply, or a key is not text.
    """
    return _Walk().read(root)


class _Walk:
    def __init__(self) -> None:
        self._count = 0
        self._places: dict[DataPath, tuple[int, int]] = {}
        self._faults: list[Fault] = []

    def read(self, root: Any) -> Tree:
        holder: list[Any] = [None]
        stack: list[tuple[Any, Any, str | int, DataPath]] = [(root, holder, 0, ())] if root is not None else []
        while stack:
            node, target, key, path = stack.pop()
            self._limit(node, path)
            self._places.setdefault(path, _at(node))
            match node:
                case MappingNode():
                    target[key] = {}
                    stack.extend(self._items(node, target[key], path))
                case SequenceNode():
                    target[key] = [None] * len(cast("Any", node).value)
                    items = enumerate(cast("Any", node).value)
                    stack.extend((item, target[key], index, (*path, index)) for index, item in items)
                case _:
                    target[key] = self._scalar(node, path)
        return Tree(holder[0], self._places, tuple(self._faults))

    def _limit(self, node: Any, path: DataPath) -> None:
        self._count += 1
        if len(path) > MAX_PATH:
            raise TextError(f"{TOO_DEEP} (does an alias stand within what it names?)", *_at(node))
        if self._count > MAX_VALUES:
            raise TextError(f"more than {MAX_VALUES:,} values; do aliases (*name) multiply?", *_at(node))

    def _items(
        self, node: Any, target: dict[str, Any], path: DataPath
    ) -> Iterator[tuple[Any, Any, str | int, DataPath]]:
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise TextError("a key must be plain text", *_at(key_node))
            written = str(cast("Any", key_node).value)
            key = _readable(_whole(written))
            below = (*path, key)
            if key != _whole(written):
                self._faults.append(Fault(below, _half_message(written), _at(key_node), of_key=True))
            if key == "<<" or key in target:
                message = "merge keys (<<) are not supported; write the values out" if key == "<<" else ""
                message = message or f"the key {key!r} stands here twice"
                dropped = frozenset(_texts(value_node))
                self._faults.append(Fault(below, message, _at(key_node), True, False, dropped))
                continue
            target[key] = None
            yield value_node, target, key, below

    def _scalar(self, node: Any, path: DataPath) -> Any:
        text = str(node.value)
        try:
            value = _plain(str(node.tag).removeprefix(_TAG), text)
        except ValueError:
            return self._replaced(node, path, f"not a number: {shorten(text)}", 1)
        match value:
            case str():
                whole = _whole(value)
                return (
                    self._replaced(node, path, _half_message(whole), _readable(whole)) if _HALF.search(whole) else whole
                )
            case float() if not isfinite(value):
                return self._replaced(node, path, f"expected a finite number, found {value}", 1)
            case int() if not _SMALLEST <= value <= _LARGEST:
                return self._replaced(node, path, f"{shorten(text)} has more than 64 bits; put it in quotes", 1)
            case _:
                return value

    def _replaced(self, node: Any, path: DataPath, message: str, value: Any) -> Any:
        self._faults.append(Fault(path, message, _at(node)))
        return value


def _at(node: Any) -> tuple[int, int]:
    return (node.start_mark.line, node.start_mark.column)


def _texts(root: Any) -> Iterator[str]:
    """Yield the scalars within a tree; an alias is not followed twice."""
    stack, seen = [root], set[int]()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, MappingNode):
            stack += [value for _, value in cast("Any", node).value]
        elif isinstance(node, SequenceNode):
            stack += cast("Any", node).value
        else:
            yield str(node.value)


def _whole(text: str) -> str:
    """Return a text with the halves of characters joined: some writers escape an emoji as two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if _HALF.search(text) else text


def _readable(text: str) -> str:
    return _HALF.sub("\ufffd", text)


def _half_message(text: str) -> str:
    half = _HALF.search(text)
    escape = f"\\u{ord(half.group()):04x}" if half else ""
    return f"{escape} is half a character; write the character itself, or both halves"


def _plain(kind: str, text: str) -> Any:
    """Return the value of a YAML 1.2 scalar; anything but numbers, truth values and null stays text."""
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            digits = text.replace("_", "")
            return int(digits, 0) if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(digits)
        case "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text
