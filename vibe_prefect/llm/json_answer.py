"""The one reader of answers that shall be JSON: an object, with nothing around it but what models put around JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.errors import shorten
from vibe_prefect.llm.provider.received import without_thinking
from vibe_prefect.text.json_text import JSONText, RefusedJSONError, read_json, read_json_at

_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*[\w+.-]*[ \t]*")
_START = re.compile(r"""\{(?=\s*["}])|\[""")

MAX_TRIES = 500
"""Positions in a text that are tried as the start of an object; prose has fewer, and each failure reads all before."""


class AnswerJSONError(ValueError):
    """An answer is not one JSON object; the message says why."""


@dataclass(frozen=True, slots=True)
class JSONAnswer:
    """An answer's JSON object."""

    text: str
    """The JSON itself, as the model wrote it; written again where a text in it was not well-formed, or held raw line
    ends."""

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
        return _found_in(text)
    except RefusedJSONError as error:  # it must not be guessed at, so no other reading is tried
        raise AnswerJSONError(str(error)) from None


def _found_in(text: str) -> JSONAnswer:
    try:
        return _parsed(text)
    except AnswerJSONError as error:
        inner = _without_fence(text)
        answers = [_parsed(inner)] if inner is not None and _is_json(inner) else list(_objects(text))
        if len(answers) > 1:
            raise AnswerJSONError(f"it holds {len(answers)} JSON objects where one is expected") from None
        if not answers:
            raise error from None
        return answers[0]


def _parsed(text: str) -> JSONAnswer:
    try:
        parsed = read_json(text, lenient=True)
    except json.JSONDecodeError as error:
        raise AnswerJSONError(str(error)) from None
    answer = _object(parsed)
    if answer is None:
        raise AnswerJSONError(f"expected an object, found {shorten(text, 100)}")
    return answer


def _object(parsed: JSONText) -> JSONAnswer | None:
    data: object = parsed.data
    return JSONAnswer(parsed.text, cast("dict[str, Any]", data)) if isinstance(data, dict) else None


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except AnswerJSONError:
        return False
    return True


def _without_fence(text: str) -> str | None:
    """Return what is between the first and the last line of a text, if they are one fence; else `None`."""
    first_line, _, lines = text.partition("\n")
    inner, _, last = lines.rpartition("\n")
    opening = _FENCE.fullmatch(first_line.rstrip("\r"))
    closes = opening is not None and last.strip() == opening.group(1)
    return inner.strip() if closes else None


def _objects(text: str) -> Iterator[JSONAnswer]:
    """Yield the objects that stand in a text, outside of other JSON values.

    After a failure the search continues where the failure is, not after the beginning: what was read once is not read
    again, and a part of a broken object is not taken for an object.
    """
    position = 0
    for _ in range(MAX_TRIES):
        start = _START.search(text, position)
        if start is None:
            return
        try:
            parsed, position = read_json_at(text, start.start(), lenient=True)
        except json.JSONDecodeError as error:
            position = max(error.pos, start.end())
        else:
            answer = _object(parsed)
            if answer is not None:
                yield answer
