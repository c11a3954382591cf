"""Templates of a part, rewritten for the plan that uses it: outputs by their longer ids, inputs by what they are given.

The text between the names that are replaced stays as it is. A reference that stands alone, as in
`About {{ inputs.product }}`, becomes the value's own text; within a larger expression it becomes an expression.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.templates.language import lex
from vibe_prefect.templates.texts import InvalidTemplateError, is_template
from vibe_prefect.templates.trees import assigned_names

MAX_LENGTH = 10_000_000
"""The longest template that rewriting makes, in characters."""

_ROOTS = frozenset({"outputs", "inputs"})
_BLANK = "whitespace"
_BEGINNINGS = ("{{", "{%", "{#")
_Token = tuple[str, str]
"""Kind and text of a token, as Jinja's lexer yields them."""


@dataclass(frozen=True)
class Rewriting:
    """The names that change."""

    ids: Mapping[str, str]
    """The new id of each node, by the old one."""

    inputs: Mapping[str, Any]
    """The value that stands for each input: JSON data, whose texts may be templates of the outer plan."""

    def of(self, text: str) -> str:
        """Return a template with the new names; a text that names none of them comes back as it is.

        Raises:
            InvalidTemplateError: The template does not parse, gives `outputs` or `inputs` another meaning, or an
                input's value cannot stand within an expression.
        """
        if not any(root in text for root in _ROOTS):
            return text
        for root in sorted(_ROOTS & assigned_names(text)):
            raise InvalidTemplateError(f"the template gives {root!r} a meaning of its own; use another name")
        return self._joined(lex(text))

    def _joined(self, tokens: Sequence[_Token]) -> str:
        written: list[str] = []
        index = length = 0
        while index < len(tokens):
            length += len(written[-1]) if written else 0
            if length > MAX_LENGTH:
                raise InvalidTemplateError(f"with its inputs, the template has more than {MAX_LENGTH:,} characters")
            end, replaced = self._reference(tokens, index)
            if replaced is None:
                written.append(tokens[index][1])
                index += 1
            else:
                written.append(replaced)
                index = end
        return "".join(written)

    def _reference(self, tokens: Sequence[_Token], start: int) -> tuple[int, str | None]:
        """Return the end of what stands at a token and what replaces it; `None` for nothing."""
        if tokens[start] == ("variable_begin", "{{"):
            return self._alone(tokens, start)
        if tokens[start][0] != "name" or tokens[start][1] not in _ROOTS or _follows_dot(tokens, start):
            return start, None
        root, (end, name) = tokens[start][1], _named(tokens, start)
        if root == "inputs":
            if name is not None and name in self.inputs:
                return end, _expression(self.inputs[name])
            return start + 1, _expression(dict(self.inputs))
        if name is None:
            _refuse_lookup(tokens, start)
        return end, f"outputs[{json.dumps(self.ids[name])}]" if name is not None and name in self.ids else None

    def _alone(self, tokens: Sequence[_Token], start: int) -> tuple[int, str | None]:
        """Return the text for `{{ inputs.name }}` where the value has one."""
        name_at = _past_blanks(tokens, start + 1)
        if name_at >= len(tokens) or tokens[name_at] != ("name", "inputs"):
            return start, None
        end, name = _named(tokens, name_at)
        end = _past_blanks(tokens, end)
        value = self.inputs.get(name) if name is not None else None
        if not isinstance(value, str) or tokens[end : end + 1] != [("variable_end", "}}")]:
            return start, None
        before, after = _text(tokens, start - 1)[-1:], _text(tokens, end + 1)[:1]
        is_all = len(tokens) == end + 1 - start
        mixes = before + value[:1] in _BEGINNINGS or value[-1:] + after in _BEGINNINGS or value != value.strip()
        return (end + 1, value) if is_all or not mixes else (start, None)


def texts_of(value: Any, change: Callable[[str], str]) -> Any:
    """Return nested dicts and lists with each template changed; everything else is shared with the original."""
    if isinstance(value, str):
        return change(value) if is_template(value) else value
    if isinstance(value, Mapping):
        return {key: texts_of(item, change) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [texts_of(item, change) for item in cast("list[Any]", value)]
    return value


def _text(tokens: Sequence[_Token], index: int) -> str:
    return tokens[index][1] if 0 <= index < len(tokens) else ""


def _follows_dot(tokens: Sequence[_Token], index: int) -> bool:
    before = [token for token in tokens[max(0, index - 2) : index] if token[0] != _BLANK]
    return bool(before) and before[-1] == ("operator", ".")


def _past_blanks(tokens: Sequence[_Token], index: int) -> int:
    while index < len(tokens) and tokens[index][0] == _BLANK:
        index += 1
    return index


def _named(tokens: Sequence[_Token], start: int) -> tuple[int, str | None]:
    """Return the key that is named after a mapping, `.key` or `["key"]`, and where that ends; `None` for no key."""
    index = _past_blanks(tokens, start + 1)
    key = _past_blanks(tokens, index + 1)
    if index >= len(tokens) or key >= len(tokens):
        return start + 1, None
    kind, text = tokens[key]
    if tokens[index] == ("operator", ".") and kind == "name":
        return key + 1, text
    close = _past_blanks(tokens, key + 1)
    if tokens[index] == ("operator", "[") and kind == "string" and tokens[close : close + 1] == [("operator", "]")]:
        return close + 1, text[1:-1]
    return start + 1, None


def _refuse_lookup(tokens: Sequence[_Token], start: int) -> None:
    """Refuse an output whose id is only known when the template is filled in: ids are longer then."""
    index = _past_blanks(tokens, start + 1)
    if tokens[index : index + 1] == [("operator", "[")]:
        raise InvalidTemplateError("a part names outputs literally, as in outputs.draft or outputs['draft']")


def _expression(value: Any) -> str:
    """Return a value as an expression; texts in it may be templates."""
    if isinstance(value, str):
        return _text_expression(value) if is_template(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        pairs = (f"{json.dumps(key, ensure_ascii=False)}: {_expression(item)}" for key, item in items)
        return f"{{{', '.join(pairs)} }}"  # not `}}`, which would end the expression around it
    if isinstance(value, list):
        return f"[{', '.join(_expression(item) for item in cast('list[Any]', value))}]"
    number = json.dumps(value)
    return {"null": "none"}.get(number, f"({number})" if number.startswith("-") else number)


def _text_expression(text: str) -> str:
    """Return a text with `{{ expressions }}` as one expression; one that is all of the text keeps its own type."""
    parts: list[str] = []
    tokens = lex(text)
    begin = 0
    for index, (kind, token) in enumerate(tokens):
        if kind in ("block_begin", "raw_begin"):
            raise InvalidTemplateError(
                "the value of an input that stands within a larger expression takes {{ expressions }} only"
            )
        if kind == "variable_begin":
            begin = index + 1
        elif kind == "variable_end":
            parts.append(f"({''.join(inner for _, inner in tokens[begin:index]).strip()})")
            begin = 0
        elif kind == "data":
            parts.append(json.dumps(token, ensure_ascii=False))
    written = [part for part in parts if part.strip('" ')] if text.strip().startswith("{{") else parts
    return parts[0] if len(parts) == 1 else f"({' ~ '.join(written if len(written) == 1 else parts)})"
