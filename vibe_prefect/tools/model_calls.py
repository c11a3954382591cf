"""Calls to models, noted in the provenance of the node that makes them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from vibe_prefect.errors import ToolError
from vibe_prefect.provenance import ModelCall
from vibe_prefect.text.sendable import text_of
from vibe_prefect.tools.base import ToolContext

STOPPED = "it was stopped before it had ended"
"""Error of a call that a timeout or a cancelled run ended."""


@dataclass
class OpenModelCall:
    """A call to a model that has not ended."""

    call: ModelCall
    """What is known of it so far."""

    def note_usage(self, usage: Mapping[str, Any] | None, answered_by: str | None = None) -> None:
        """Note what the call used.

        Args:
            usage: Its usage, in the form of a tool result's `metadata["usage"]`; `None` where it is not known.
            answered_by: The model's name in the answer.
        """
        usage = usage or {}
        self.call = replace(
            self.call,
            answered_by=answered_by or self.call.answered_by,
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            cost_usd=usage.get("cost_usd"),
        )


@contextmanager
def noted_call(context: ToolContext, call: ModelCall) -> Generator[OpenModelCall]:
    """Note a call to a model in the node's provenance, however the block ends.

    Args:
        context: Context of the tool that makes the call.
        call: The call as it is sent.
    """
    open_call = OpenModelCall(call)
    try:
        yield open_call
    except BaseException as error:
        if isinstance(error, ToolError) and error.usage is not None:
            open_call.note_usage(error.usage)
        reason = text_of(error) if isinstance(error, Exception) else STOPPED
        open_call.call = replace(open_call.call, error=reason)
        raise
    finally:
        note = context.get("note_model_call")
        if note is not None:
            note(open_call.call)
