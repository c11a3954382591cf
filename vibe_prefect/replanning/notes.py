"""Notes in prompts on what an earlier output missed: data between marks, with template braces as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vibe_prefect.llm.prompts import TAG_LENGTH, marked

MAX_MISSES = 12
"""Criteria that a note names."""

MAX_REASON = 400
"""Characters of a reason."""

MAX_QUOTE = 300
"""Characters of a quote."""

MAX_QUOTES = 3
"""Quotes of one criterion."""

HEAD = "An earlier version missed what follows. Write it so that each of these points is met:"
"""Line before a note."""

_NOTE = re.compile(rf"\n\n{re.escape(HEAD)}\n.*\[end [0-9a-f]{{{TAG_LENGTH}}}\]\Z", re.DOTALL)
_BRACE = re.compile(r"\{(?=[{%])")


@dataclass(frozen=True, slots=True)
class Miss:
    """Criterion that an output missed."""

    name: str
    """Name of the criterion."""

    reason: str
    """Reason of the judgement."""

    quotes: tuple[str, ...] = ()
    """Passages of the output, as the evidence."""


def with_note(prompt: str, misses: Sequence[Miss], *, is_template: bool = True) -> str:
    """Return a prompt with a note at its end; a note of an earlier replan is replaced.

    Args:
        prompt: The prompt, as the plan has it.
        misses: What the output missed.
        is_template: Whether the prompt is filled in as a template.
    """
    points = "\n".join(line for miss in misses[:MAX_MISSES] for line in _lines(miss))
    note = marked("an earlier version", points, "missed points of")
    return f"{_NOTE.sub('', prompt)}\n\n{HEAD}\n{literal(note) if is_template else note}"


def literal(text: str) -> str:
    """Return a text as a template that yields it as it stands, whatever braces it holds."""
    return _BRACE.sub("{{ '{' }}", text)


def _lines(miss: Miss) -> list[str]:
    quotes = [f'  quote: "{cut_line(quote, MAX_QUOTE)}"' for quote in miss.quotes[:MAX_QUOTES]]
    return [f"- {cut_line(miss.name, MAX_REASON)}: {cut_line(miss.reason, MAX_REASON)}", *quotes]


def cut_line(text: str, most: int) -> str:
    """Return a text on one line, cut to that many characters, its end then replaced by three dots."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
