"""The one reader of answers that shall be JSON: an object, with nothing around it but what models put around JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.errors import shorten
from vibe_prefect.llm.received import well_formed, without_thinking

MAX_INTEGER = 2**63 - 1
"""Greatest magnitude of an integer: what databases and other JSON readers hold without loss."""

_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*[\w+.-]*[ \t]*")
_START = re.compile(r"""\{(?=\s*["}])|\[""")

MAX_TRIES = 500
"""Places in a text at which an object is looked for; prose has fewer, and a failure costs a look at all before it."""


class AnswerJSONError(ValueError):
    """An answer is not one JSON object; the message says why."""


class _RefusedError(AnswerJSONError):
    """It is JSON, but holds what must not be guessed at, so that no other reading is tried."""


@dataclass(frozen=True, slots=True)
class JSONAnswer:
    """An answer's JSON object."""

    text: str
    """The JSON itself, as the model wrote it; written again where a text in it was not well-formed."""

    data: dict[str, Any]
    """The data."""


def read_json_answer(answer: str) -> JSONAnswer:
    """Read an answer that shall be one JSON object.

    It is read strictly first; then without a code fence around the whole, a byte order mark or thinking before it; then
    as the only object that stands alone in the text. The cost is linear in the answer's length.

    Raises:
        AnswerJSONError: There is no object, or more than one, a key stands in it twice, or it holds a number that JSON
            or a 64-bit integer cannot hold.
    """
    text = without_thinking(answer.strip("\ufeff \t\r\n")).strip()
    try:
        return _parsed(text)
    except _RefusedError:
        raise
    except AnswerJSONError as error:
        inner = _without_fence(text)
        found = [_parsed(inner)] if inner is not None and _is_json(inner) else list(_objects(text))
        if len(found) > 1:
            raise AnswerJSONError(f"it holds {len(found)} JSON objects where one is expected") from None
        if not found:
            raise error from None
        return found[0]


def _parsed(text: str) -> JSONAnswer:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise AnswerJSONError(str(error)) from None
    except RecursionError:
        raise _RefusedError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise AnswerJSONError(f"expected an object, found {shorten(text, 100)}")
    return _mended(text, cast("dict[str, Any]", value))


def _mended(text: str, data: dict[str, Any]) -> JSONAnswer:
    written = json.dumps(data, ensure_ascii=False)
    clean = well_formed(written)
    return JSONAnswer(text, data) if clean == written else JSONAnswer(clean, json.loads(clean))


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except _RefusedError:
        raise
    except AnswerJSONError:
        return False
    return True


def _without_fence(text: str) -> str | None:
    """Return what is between the first and the last line of a text, if they are one fence; else `None`."""
    first, _, rest = text.partition("\n")
    inner, _, last = rest.rpartition("\n")
    opening = _FENCE.fullmatch(first.rstrip("\r"))
    closes = opening is not None and last.strip() == opening.group(1)
    return inner.strip() if closes else None


def _objects(text: str) -> Iterator[JSONAnswer]:
    """Yield the objects that stand in a text, outside of other JSON values.

    After a failure the search goes on where the failure is, not after the beginning: what was read once is not read
    again, and a part of a broken object is not taken for an object.
    """
    place = 0
    for _ in range(MAX_TRIES):
        start = _START.search(text, place)
        if start is None:
            return
        try:
            value, place = _DECODER.raw_decode(text, start.start())
        except json.JSONDecodeError as error:
            place = max(error.pos, start.end())
        except RecursionError:
            raise _RefusedError("it is nested too deeply") from None
        else:
            if isinstance(value, dict):
                yield _mended(text[start.start() : place], cast("dict[str, Any]", value))


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _RefusedError(f"the key {shorten(key, 100)} stands in one object twice")
        made[key] = value
    return made


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) < 30 else None
    if value is None or abs(value) > MAX_INTEGER:
        raise _RefusedError(f"the number {shorten(digits, 40)} is larger than 64 bits hold; ask for it as text")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _RefusedError(f"the number {shorten(digits, 40)} is larger than a number in JSON may be")
    return value


def _no_constant(word: str) -> Any:
    raise _RefusedError(f"{word} is not a JSON value; write null instead")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_doubles, parse_int=_integer, parse_float=_number, parse_constant=_no_constant
)
