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
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from vibe_prefect.characters import HALF
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Finding, UsageError, printable
from vibe_prefect.plan.graph import PlanLimits
from vibe_prefect.plan.reading.values import MAX_DEPTH, MAX_VALUES, SEVERAL_PLANS, half_finding, value_finding

TOO_DEEP = f"nested too deeply to be a plan; nodes may be nested {PlanLimits().max_depth} deep"

_scan_text = cast("Any", decoder).scanstring
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset({f"{_TAG}str", f"{_TAG}map", f"{_TAG}seq"})
"""Tags that may be written: they say what the value is anyway, or that it is text."""

_VERSION = re.compile(r"%YAML[ \t]+(\S+)")
MAX_REPEATED = 100_000
"""Values that a text may hold besides those that are written, once its YAML aliases are followed."""

_MAX_DIGITS = 100
"""Digits of a number that is read; one of 64 bits has twenty."""

_MERGE_KEY = Finding.advised("merge keys (<<) are not supported", "write the values out")

_TOKEN = re.compile(r'[{}\[\]"]|[^\s,:{}\[\]"]+')

IN_QUOTES = "put a template ({{ ... }}) in quotes"
"""Hint for a mapping as a key: YAML reads braces without quotes so."""


class TextError(UsageError, ValueError):
    """A text that is neither JSON nor YAML, or larger than what is read."""

    def __init__(self, message: str, line: int | None = None, column: int = 0, hint: str | None = None) -> None:
        """State what is wrong with a text.

        Args:
            message: What was found and what was expected.
            line: Line of the place, from 0; `None` for the text as a whole.
            column: Column of the place, from 0.
            hint: Remedy, as it stands in the message.
        """
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint
        super().__init__(message, line, column, hint)

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that cannot be taken as it stands; something harmless stands in its place, or it is left out."""

    path: DataPath
    """Path within the data."""

    message: str
    """Text: what was found and what was expected."""

    at: tuple[int, int] | None = None
    """Its line and column in the text, from 0; `None` without a text."""

    of_key: bool = False
    """Whether the message is about the key rather than the value."""

    replaced: bool = True
    """Whether the data at the path are not what was written."""

    dropped: frozenset[str] = frozenset()
    """Texts within a value that was left out."""

    hint: str | None = None
    """Remedy, as it stands in the message."""


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
    if half := HALF.search(text):
        line = text.count("\n", 0, half.start())
        finding = half_finding(text)
        raise TextError(finding.message, line, half.start() - text.rfind("\n", 0, half.start()) - 1, finding.hint)
    _check_version(text)
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    yaml.max_depth = MAX_DEPTH
    try:
        return yaml.compose(io.StringIO(text))
    except MaxDepthExceededError as error:
        mark = cast("Any", error).problem_mark
        raise TextError(TOO_DEEP, mark.line, mark.column) from None
    except MarkedYAMLError as error:
        marked = cast("Any", error)
        mark = marked.problem_mark or marked.context_mark
        words = " ".join(text for text in (marked.context, marked.problem) if text)
        raise TextError(f"not YAML: {words}", *((mark.line, mark.column) if mark else ())) from None
    except YAMLError as error:
        raise TextError(f"not YAML: {error}") from None


class _Composer(cast("type[Any]", Composer)):
    """Refuses tags: they would be dropped, and the value be another one than its author meant."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)  # pyright: ignore[reportUnknownMemberType]
        self.warn_double_anchors = False

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.parser.peek_event()
        tag = str(getattr(event, "ctag", None) or "")
        if tag and tag not in _PLAIN_TAGS:
            shown_tag = printable(tag.replace(_TAG, "!!"), 60)
            finding = Finding.advised(
                f"the tag {shown_tag} is not supported", "leave it out, and write the value itself"
            )
            raise TextError(finding.message, event.start_mark.line, event.start_mark.column, finding.hint)
        return super().compose_node(parent, index)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _check_version(text: str) -> None:
    """Refuse another version of YAML than 1.2, in which `yes` and `017` mean something else."""
    for number, line in enumerate(text.splitlines()):
        if match := _VERSION.match(line):
            if match[1] != "1.2":
                raise TextError(f"YAML {printable(match[1], 60)} is not supported; plans are YAML 1.2", number)
        elif line.strip() and not line.startswith(("#", "%")):
            return


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
        self._seen: set[int] = set()
        self._repeated = 0
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
        self._repeated += id(node) in self._seen
        self._seen.add(id(node))
        if len(path) > MAX_DEPTH:
            raise TextError(f"{TOO_DEEP} (does an alias stand within what it names?)", *_at(node))
        if self._repeated > MAX_REPEATED:
            message = f"aliases (*name) make more than {MAX_REPEATED:,} values; do they multiply?"
            raise TextError(message, *_at(node))
        if self._count > MAX_VALUES:
            raise TextError(f"more than {MAX_VALUES:,} values; {SEVERAL_PLANS}", *_at(node), SEVERAL_PLANS)

    def _items(
        self, node: Any, target: dict[str, Any], path: DataPath
    ) -> Iterator[tuple[Any, Any, str | int, DataPath]]:
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                hint = IN_QUOTES if isinstance(key_node, MappingNode) else ""
                raise TextError(f"a key must be plain text{hint and f'; {hint}'}", *_at(key_node), hint or None)
            key_text = str(cast("Any", key_node).value)
            key = _readable(_whole(key_text))
            below = (*path, key)
            if key != _whole(key_text):
                half = half_finding(key_text)
                self._faults.append(Fault(below, half.message, _at(key_node), of_key=True, hint=half.hint))
            if key == "<<" or key in target:
                finding = _MERGE_KEY if key == "<<" else Finding(f"the key {key!r} stands here twice")
                dropped = frozenset(_texts(value_node))
                self._faults.append(Fault(below, finding.message, _at(key_node), True, False, dropped, finding.hint))
                continue
            target[key] = None
            yield value_node, target, key, below

    def _scalar(self, node: Any, path: DataPath) -> Any:
        text, kind = str(node.value), str(node.tag).removeprefix(_TAG)
        if kind == "int" and len(text) > _MAX_DIGITS:
            finding = Finding.advised(f"{printable(text, 60)} has more than 64 bits", "put it in quotes")
            return self._replaced(node, path, finding, 1)
        try:
            value = _plain(kind, text)
        except ValueError:
            return self._replaced(node, path, Finding(f"not a number: {printable(text, 60)}"), 1)
        if isinstance(value, str):
            value = _whole(value)
            if HALF.search(value):
                return self._replaced(node, path, half_finding(value), _readable(value))
        finding = value_finding(value)
        return value if finding is None or isinstance(value, str) else self._replaced(node, path, finding, 1)

    def _replaced(self, node: Any, path: DataPath, finding: Finding, value: Any) -> Any:
        self._faults.append(Fault(path, finding.message, _at(node), hint=finding.hint))
        return value


def _at(node: Any) -> tuple[int, int]:
    return (node.start_mark.line, node.start_mark.column)


def _texts(root: Any) -> Iterator[str]:
    """Yield the scalars within a tree; an alias is not followed twice."""
    stack, visited = [root], set[int]()
    while stack:
        node = stack.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, MappingNode):
            stack += [value for _, value in cast("Any", node).value]
        elif isinstance(node, SequenceNode):
            stack += cast("Any", node).value
        else:
            yield str(node.value)


def _whole(text: str) -> str:
    """Return a text with the halves of characters joined: some writers escape an emoji as two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if HALF.search(text) else text


def _readable(text: str) -> str:
    return HALF.sub("\ufffd", text)


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
            return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text
