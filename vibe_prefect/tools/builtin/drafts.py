"""Tools for plans that run with and without a language model.

These are the ones without. Where a model is configured, those of `llm.model_drafts` take their places, under the
same names and with the same inputs.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from vibe_prefect.tools.base import TemplateText, ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.builtin.text_tools import Text, template_fill
from vibe_prefect.tools.functions import tool

NOT_JUDGED = "not judged: no model is configured"

DraftPrompt = Annotated[str, Field(min_length=1, max_length=400_000, description="What the model is to write.")]
DraftTemplate = Annotated[TemplateText, Field(description="A Jinja template that makes the text without a model.")]
DraftValues = Annotated[dict[str, Any] | None, Field(description="More names for the template.")]
ReviewedText = Annotated[str, Field(min_length=1, max_length=1_000_000, description="What is judged, and passed on.")]
ReviewCriteria = Annotated[list[str], Field(min_length=1, max_length=30, description="What must hold, a text each.")]
ReviewReference = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=1_000_000,
        description="Another text that the criteria speak of, such as the source that the judged text must agree with.",
    ),
]
ReviewThreshold = Annotated[float, Field(ge=0, le=1, description="The score from 0 to 1 that the text needs.")]


@tool(name="llm_or_template", category=ToolCategory.TEXT, version="1")
async def llm_or_template(
    context: ToolContext, prompt: DraftPrompt, template: DraftTemplate, values: DraftValues = None
) -> Text | ToolResult:
    """Write a text with the configured language model, and fill in a template where none is configured.

    Raises:
        InvalidTemplateError: A name in the template is not defined, or the sandbox refuses an operation.
    """
    text: Text = await template_fill(context, template, values=values)
    return ToolResult(success=True, output=text, metadata={"written_by": "template"})


@tool(name="judge_or_pass", category=ToolCategory.ANALYSIS, version="1")
def judge_or_pass(
    text: ReviewedText,
    criteria: ReviewCriteria,
    threshold: ReviewThreshold = 0.7,
    reference: ReviewReference = None,
) -> Text | ToolResult:
    """Judge a text by a rubric with the configured language model; pass it on unjudged where none is configured."""
    return ToolResult(success=True, output=Text(text=text), metadata={"judged": False, "evidence": [NOT_JUDGED]})
