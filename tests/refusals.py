"""A plan with a gate, and a model whose judge refuses."""

from __future__ import annotations

from tests.plans import node, plan
from vibe_prefect import WorkflowPlan
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.testing import ScriptedModel, verdict

POST = "A cold and dry text, made for the test."


def gated(text: str = "{{ outputs.post.text }}") -> WorkflowPlan:
    """A post that a gate judges, and a file that needs both."""
    judged = {"tool": "judge", "tool_inputs": {"criteria": ["warm"]}}
    published = {"tool": "write_file", "tool_inputs": {"path": "post.md", "content": text}}
    return plan(
        node("post", parameters={"tool": "llm_generate", "tool_inputs": {"prompt": "Write the post."}}),
        node("tone", "validate", needs=["post"], parameters=judged),
        node("publish", "transform", needs=["post", "tone"], parameters=published),
    )


def refusing(post: str = POST, score: float = 0.4) -> ScriptedModel:
    """A model that writes a post, and gives it a score in which nothing changes when it judges again."""

    def reply(question: Question) -> str:
        return verdict({"warm": score}, post[:20]) if question.schema is not None else post

    return ScriptedModel(reply)
