"""Edits of outputs by people: the text to edit, and the output with an edited text in place of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from vibe_prefect.core.outputs import output_files
from vibe_prefect.text.json_text import read_json

TEXT = "text"


class EditError(ValueError):
    """An edited text that cannot take the place of an output; its text says what was expected."""


def editable_text(output: Any) -> str:
    """Return an output as a text to edit: its `text` where that is all there is, else JSON with line breaks.

    Raises:
        EditError: It names files, or there is nothing in it.
    """
    if output is None:
        raise EditError("it returned nothing to edit")
    if files := output_files(output):
        raise EditError(f"it made a file, {files[0].path!r}, and only texts and data can be edited")
    if isinstance(output, str):
        return output
    if _is_text(output):
        return cast("Mapping[str, str]", output)[TEXT]
    return json.dumps(output, indent=2, ensure_ascii=False)


def with_text(output: Any, text: str) -> Any:
    """Return an output with an edited text.

    Args:
        output: The output; see `editable_text`.
        text: The edited text; JSON where the text to edit was JSON.

    Raises:
        EditError: The output cannot be edited, or the text is empty, or not JSON of the same kind.
    """
    editable_text(output)
    if not text.strip():
        raise EditError("the edited text is empty")
    if isinstance(output, str):
        return text
    if _is_text(output):
        return {**cast("Mapping[str, Any]", output), TEXT: text}
    try:
        data = read_json(text).data
    except ValueError as error:
        raise EditError(f"the edited text is not JSON: {error}") from None
    if _kind(data) != _kind(output):
        raise EditError(f"the edited JSON is {_kind(data)}, and the node made {_kind(output)}")
    return data


def _is_text(output: Any) -> bool:
    """Return whether an output is a text with nothing but plain values, such as a count, beside it."""
    if not isinstance(output, Mapping):
        return False
    parts = cast("Mapping[str, Any]", output)
    plain = all(not isinstance(value, dict | list) for value in parts.values())
    return isinstance(parts.get(TEXT), str) and plain


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "a single value"
