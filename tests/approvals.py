"""Plans in which a person approves what was made."""

from __future__ import annotations

from typing import Any

from tests.plans import node, plan
from vibe_prefect import WorkflowPlan

POST = "A warm post.\n\nWith two paragraphs."


def asking(post: str = POST, *, needs: tuple[str, ...] = ("post",), id: str = "asking", **inputs: Any) -> WorkflowPlan:
    """A post and a slogan, an approval of some of them, a file that needs it, and one that does not."""
    fill = {"tool": "template_fill"}
    asked = {"tool": "approve", "tool_inputs": {"question": "Is this fine?", **inputs}}
    approved = "{{ outputs.check.text }}" if len(needs) == 1 else "{{ outputs.check | tojson }}"
    return plan(
        node("post", parameters={**fill, "tool_inputs": {"template": post}}),
        node("slogan", parameters={**fill, "tool_inputs": {"template": "Drink tea."}}),
        node("check", "validate", needs=list(needs), parameters=asked),
        node("publish", "transform", needs=["check"], parameters=_written("post.md", approved)),
        node("aside", "transform", needs=["slogan"], parameters=_written("aside.md", "{{ outputs.slogan.text }}")),
        id=id,
    )


def _written(path: str, content: str) -> dict[str, Any]:
    return {"tool": "write_file", "tool_inputs": {"path": path, "content": content}}
