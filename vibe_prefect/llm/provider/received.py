"""Our own answer, made of what a provider sent: text, usage, and whether it is whole.

Pure: what a client library or a transport saw comes in as a `Received`, and every rule about it is here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.text.encodings import well_formed
from vibe_prefect.tools.secrecy.known import scrubbed

ANSWER_TOOL = "answer"
"""Name of the tool that a model calls to give data; a call of any other tool is not an answer."""

THINKING_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
)
"""Tags between which models put their thinking, when no parser of their server takes it out; in any case."""

MAX_THOUGHTS = 50
"""Parts of thinking, one after another, that are taken out of one answer."""

Finish = Literal["stop", "length", "content_filter", "tool_call", "error"]
"""Reasons why an answer ended, in pydantic-ai's words."""

_WORDS: dict[str, Finish] = {
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "max_length", "model_length", "model_context_window_exceeded"),
        "length",
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "guardrail_intervened",
            "safety",
            "recitation",
            "refusal",
            "blocklist",
            "prohibited_content",
            "spii",
            "sensitive",
        ),
        "content_filter",
    ),
    **dict.fromkeys(
        (
            "error",
            "failed",
            "abort",
            "aborted",
            "cancelled",
            "timeout",
            "network_error",
            "malformed_function_call",
            "insufficient_system_resource",
        ),
        "error",
    ),
}
"""Words of servers that pydantic-ai does not map. Any other word, such as `eos`, means that the answer is whole."""

_LEADING_BLANK_LINES = re.compile(r"\s*\n")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider counts them."""

    input_tokens: int
    """Tokens read, the cached ones among them."""

    output_tokens: int
    """Tokens written."""

    cached_tokens: int = 0
    """Tokens read from the provider's cache."""


@dataclass(frozen=True, slots=True)
class Received:
    """A provider's whole response to one question."""

    texts: Sequence[str] = ()
    """Text parts in order, without what the provider itself marks as thinking."""

    calls: Sequence[tuple[str, str]] = ()
    """Names and arguments (JSON) of the tools that the model called."""

    finish: Finish | None = None
    """Reason why it ended, as the client library maps it; `None` where it cannot."""

    finish_word: str | None = None
    """Reason why it ended, in the server's own word; `None` or empty where it sent none."""

    ended: bool | None = None
    """Whether the stream's end mark came; `None` where the protocol has none or it cannot be seen."""

    usage: Usage | None = None
    """Tokens; `None` where the provider does not say."""


def answer_text(received: Received, question: Question, tags: Sequence[tuple[str, str]] = THINKING_TAGS) -> str:
    """Return the text of an answer: well-formed, without thinking; JSON where a schema was given.

    Args:
        received: What the provider sent.
        question: What was asked.
        tags: Opening and closing tags of thinking.
    """
    if question.schema is not None:
        candidates = [arguments for name, arguments in received.calls if name == ANSWER_TOOL]
        if candidates:
            return well_formed(next(filter(_is_json, candidates), candidates[0]))
    return without_thinking(well_formed("".join(received.texts)), tags)


def incomplete(received: Received, text: str, question: Question, *, end_required: bool = True) -> ToolError | None:
    """Return why there is no whole answer, if so.

    Args:
        received: What the provider sent.
        text: Its text, see `answer_text`.
        question: What was asked.
        end_required: Whether a stream without finish reason and end mark counts as broken off.
    """
    model = question.model
    match meaning(received):
        case "length":
            reason = f"the answer was cut at {question.max_tokens:,} tokens; allow more in max_tokens"
            return ToolError(f"{model}: {reason}", retryable=False)
        case "content_filter":
            return ToolError(f"{model}: the provider's content filter stopped the answer", retryable=False)
        case "error":
            finish_word = shorten(scrubbed(received.finish_word or "error"), 100)
            return ToolError(f"{model}: the provider broke off the answer with the finish reason {finish_word}")
        case None if end_required:
            return ToolError(f"{model}: the connection ended in the middle of the answer")
        case _:
            return None if text.strip() else ToolError(f"{model}: {_nothing_said(received)}")


def meaning(received: Received) -> Finish | None:
    """Return why an answer ended; `None` where neither a reason nor the end mark came."""
    word = received.finish_word or ""
    if received.finish in ("length", "content_filter", "error"):
        return received.finish
    if word:
        return _WORDS.get(word.lower(), received.finish or "stop")
    if received.ended is None:
        return received.finish
    return "stop" if received.ended else None


def without_thinking(text: str, tags: Sequence[tuple[str, str]] = THINKING_TAGS) -> str:
    """Return a text without the thinking at its beginning, and without the blank lines after it.

    A part without its opening tag is taken out where the closing tag stands alone at the beginning or the end of a
    line. Thinking that is not closed leaves nothing. A text that speaks of the tags further on stays as it is.
    """
    remaining_text = text
    for _ in range(MAX_THOUGHTS):
        shorter = _after_thinking(remaining_text, tags)
        if shorter is None:
            break
        blank = _LEADING_BLANK_LINES.match(shorter)
        remaining_text = shorter[blank.end() :] if blank else shorter.lstrip()
    return remaining_text


def _after_thinking(text: str, tags: Sequence[tuple[str, str]]) -> str | None:
    """Return what follows the thinking that a text begins with; `None` where it begins with none."""
    start = text.lstrip("\ufeff \t\r\n")
    for opening, closing in tags:
        if start[: len(opening)].lower() == opening.lower():
            return _parted(start, closing)[1] or ""
    for opening, closing in tags:
        before, after = _parted(text, closing)
        if after is not None and opening.lower() not in before.lower() and _stands_apart(before, after):
            return after
    return None


def _parted(text: str, tag: str) -> tuple[str, str | None]:
    """Return what stands before and after a tag in any case; `None` for the latter where it is not there."""
    match = re.search(re.escape(tag), text, re.IGNORECASE)
    return (text, None) if match is None else (text[: match.start()], text[match.end() :])


def _stands_apart(before: str, after: str) -> bool:
    """Tell whether a closing tag at this place ends thinking, and is not an example in a text about such tags."""
    indented = before.rpartition("\n")[2].isspace()
    quoted = indented or any(before.count(fence) % 2 for fence in ("```", "~~~"))
    own_line = not before.strip() or before.endswith("\n")
    return not quoted and (own_line or not after or after.startswith(("\n", "\r")))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _nothing_said(received: Received) -> str:
    if received.calls:
        names = ", ".join(sorted({repr(name) for name, _ in received.calls}))
        return f"the answer is a call of {shorten(scrubbed(names), 200)}, which nobody offered, and no text"
    if "".join(received.texts).strip():
        return "the answer is thinking alone, and no text"
    return "the answer is empty"
