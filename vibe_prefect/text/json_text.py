"""JSON that comes from elsewhere: what another reader would lose or change without a word is refused.

That is the same key twice in an object, a number that is not finite or needs more than 64 bits, and nesting without
end. Texts come out well-formed, so whatever was read can be written as JSON again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from vibe_prefect.errors import ResultTypeError, shorten
from vibe_prefect.text.encodings import PIECE, is_well_formed, well_formed

MAX_INTEGER = 2**63 - 1
"""Greatest magnitude of an integer: what databases and other JSON readers hold without loss."""


class RefusedJSONError(ValueError):
    """A text that is JSON, but holds what must not be guessed at; the message says what."""


@dataclass(frozen=True, slots=True)
class JSONText:
    """A text that is JSON, and its data."""

    text: str
    """The text as it stands; written again where a text in it was not well-formed, or held raw line ends."""

    data: Any
    """The data."""


def read_json(text: str, *, lenient: bool = False) -> JSONText:
    """Read a text that is JSON and nothing else.

    Args:
        text: The text.
        lenient: Whether line ends and other control characters may stand in its texts as they are, as models write
            them; they mean the same as their escapes.

    Raises:
        json.JSONDecodeError: It is not JSON.
        RefusedJSONError: It holds what must not be guessed at.
    """
    start = len(text) - len(text.lstrip(_BLANK))
    value, end = read_json_at(text, start, lenient=lenient)
    if text[end:].strip(_BLANK):
        raise json.JSONDecodeError("Extra data", text, end)
    return value if value.text != text[start:end] else JSONText(text, value.data)


def read_json_at(text: str, start: int, *, lenient: bool = False) -> tuple[JSONText, int]:
    """Read the JSON value that begins at a place of a text; return where it ends, too. See `read_json` for errors."""
    try:
        value, end = _decoded(_STRICT, text, start)
    except json.JSONDecodeError as error:
        if not lenient or "control character" not in error.msg:
            raise
        value, end = _decoded(_LENIENT, text, start)
        return _rewritten(value), end
    rewritten = json.dumps(value, ensure_ascii=False)
    return (JSONText(text[start:end], value) if well_formed(rewritten) == rewritten else _rewritten(value)), end


def _decoded(decoder: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, start)
    except RecursionError:
        raise RefusedJSONError("it is nested too deeply") from None


def _rewritten(value: Any) -> JSONText:
    clean = well_formed(json.dumps(value, ensure_ascii=False))
    return JSONText(clean, _STRICT.decode(clean))


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise RefusedJSONError(f"the key {shorten(key, 100)} stands in one object twice")
        mapping[key] = value
    return mapping


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) < 30 else None
    if value is None or abs(value) > MAX_INTEGER:
        raise RefusedJSONError(f"the number {shorten(digits, 40)} is larger than 64 bits hold; ask for it as text")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise RefusedJSONError(f"the number {shorten(digits, 40)} is larger than a number in JSON may be")
    return value


def _no_constant(word: str) -> Any:
    raise RefusedJSONError(f"{word} is not a JSON value; write null instead")


def _decoder(*, strict: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_no_doubles,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_no_constant,
        strict=strict,
    )


_BLANK = " \t\r\n"
_STRICT, _LENIENT = _decoder(strict=True), _decoder(strict=False)


def json_data(node_id: str, result: Any) -> Any:
    """Return a node's result as JSON data of its own: dates, models, paths and the like become what JSON says them by.

    Its mappings and lists are new ones; its texts are shared, however large, since nobody can change a text. Texts
    become well-formed: half an emoji in what a server answered must not cost the whole answer.

    Raises:
        ResultTypeError: The result holds something that JSON cannot, with the node and the type.
    """
    try:
        data = to_jsonable_python(result)
        if all(map(is_well_formed, texts_in(data))):
            return data
        return json.loads(well_formed(json.dumps(data, ensure_ascii=False)))
    except (PydanticSerializationError, ValueError) as error:
        raise ResultTypeError(
            f"node {node_id!r} returned a {type(result).__name__} that JSON cannot hold: {error}; "
            "return dicts, lists, text, numbers, and a file reference for media"
        ) from error


def jsonable(node_id: str, result: Any) -> bytes:
    """Return a node's result as JSON; see `json_data`."""
    return to_json(json_data(node_id, result))


def copied(data: Any) -> Any:
    """Return JSON data whose mappings and lists are new ones, and whose texts are shared."""
    return to_jsonable_python(data)


def texts_in(value: object) -> Iterator[str]:
    """Yield the texts in nested mappings, lists and tuples, keys included, in no order."""
    pending: list[object] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list | tuple):
            pending += cast("list[object]", item)
        elif isinstance(item, dict | Mapping):  # most are dictionaries, which are known sooner
            pending += [*cast("Mapping[object, object]", item), *cast("Mapping[object, object]", item).values()]


class SharedTexts:
    """Long texts of several JSON data, of which equal ones are kept once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, data: Any) -> Any:
        """Return JSON data whose long texts are those that are known, where they are equal; nothing is changed.

        Args:
            data: JSON data.
        """
        return self._shared(data) if is_long(data) else data

    def _shared(self, data: Any) -> Any:
        if isinstance(data, str):
            return self._known.setdefault(data, data) if len(data) > PIECE else data
        if isinstance(data, dict):
            return {key: self._shared(item) for key, item in cast("dict[str, Any]", data).items()}
        return [self._shared(item) for item in cast("list[Any]", data)] if isinstance(data, list) else data


def is_long(value: Any) -> bool:
    """Return whether JSON data hold a text that is better handled in pieces."""
    return any(len(text) > PIECE for text in texts_in(value))


def json_pieces(value: Any) -> Iterator[bytes]:
    """Yield JSON data as JSON, as `to_json` writes them, in pieces: a long text is not copied as a whole.

    Args:
        value: JSON data.
    """
    if not is_long(value):
        yield to_json(value)
    elif isinstance(value, str):
        yield b'"'
        yield from (to_json(value[start : start + PIECE])[1:-1] for start in range(0, len(value), PIECE))
        yield b'"'
    elif isinstance(value, Mapping):
        for index, (key, item) in enumerate(cast("Mapping[str, Any]", value).items()):
            yield (b"," if index else b"{") + to_json(key) + b":"
            yield from json_pieces(item)
        yield b"}"
    else:
        for index, item in enumerate(value):
            yield b"," if index else b"["
            yield from json_pieces(item)
        yield b"]"


def quoted_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield JSON as a text within JSON, in pieces.

    Args:
        pieces: The JSON, as `json_pieces` yields it.
    """
    yield b'"'
    yield from (to_json(piece.decode())[1:-1] for piece in pieces)
    yield b'"'
