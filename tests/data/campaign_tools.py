"""Tools of the plan `campaign.yaml`."""

from __future__ import annotations

from typing import Any

from vibe_prefect import tool
from vibe_prefect.tools import ToolContext


@tool(version="1")
def split(text: str) -> dict[str, Any]:
    """Split a text into shots."""
    words = [word.strip() for word in text.split(",")]
    return {"shots": [{"id": word, "text": word} for word in words]}


@tool(version="1")
def titles(product: str, context: ToolContext) -> dict[str, str]:
    """Make up a title."""
    return {"text": product + "!" * (1 + int(context.get("key", "0")[:4], 16) % 5)}


@tool(version="1")
def brevity(text: str) -> float:
    """Score a title: the shorter the better."""
    return 1 / len(text)
