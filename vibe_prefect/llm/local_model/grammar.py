"""Grammars of llama.cpp: a model can write nothing that does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

GRAMMAR = "grammar"
"""Form of a question whose schema goes to the server as a grammar."""


def json_grammar(schema: Mapping[str, Any]) -> str:
    """Return the grammar of JSON that fits a schema, without white space between its parts.

    `response_format` leaves white space free: a weak model writes blank lines until its answer is cut off.
    """
    compact = {"x-guidance": {"whitespace_flexible": False}, **schema}
    return f"%llguidance {{}}\nstart: %json {json.dumps(compact)}"
