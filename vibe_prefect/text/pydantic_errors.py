"""Pydantic's findings in this package's words: what was expected, what was found."""

from __future__ import annotations

from typing import Any

from vibe_prefect.errors import Finding, shorten

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}
_BOUNDS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}


def finding(detail: dict[str, Any]) -> str:
    """Return one pydantic error as `expected ..., found ...`, with what to do about it.

    Args:
        detail: An entry of `ValidationError.errors()`.
    """
    return advised_finding(detail).message


def advised_finding(detail: dict[str, Any]) -> Finding:
    """Return the same with the hint apart; see `finding`."""
    kind = str(detail["type"])
    found_value = f"found {shorten(detail['input'])}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return Finding(f"expected {words.format(detail['ctx'][name])}, {found_value}")
    if kind in _EXPECTED:
        hint = "put it in quotes" if kind == "string_type" and isinstance(detail["input"], int | float) else ""
        return Finding.advised(f"expected {_EXPECTED[kind]}, {found_value}", hint)
    message = str(detail["msg"])
    return Finding(f"{message[:1].lower()}{message[1:]}, {found_value}")
