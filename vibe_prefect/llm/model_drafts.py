"""`llm_or_template` and `judge_or_pass`, with a model: they write and judge as `llm_generate` and `judge` do."""

from __future__ import annotations

from vibe_prefect.llm.generate import generate_tool
from vibe_prefect.llm.judge import Verdict, judge_tool
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.tools.base import ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.builtin.drafts import (
    DraftPrompt,
    DraftTemplate,
    DraftValues,
    ReviewCriteria,
    ReviewedText,
    ReviewReference,
    ReviewThreshold,
)
from vibe_prefect.tools.builtin.text_tools import Text
from vibe_prefect.tools.functions import FunctionTool, tool


def draft_tool(models: Models, version: str) -> FunctionTool:
    """Return `llm_or_template` on a model.

    Args:
        models: Who answers.
        version: What stands for models and prompts in keys.
    """
    generate = generate_tool(models, version)

    @tool(name="llm_or_template", category=ToolCategory.TEXT, version=f"model {version}")
    async def llm_or_template(
        context: ToolContext, prompt: DraftPrompt, template: DraftTemplate, values: DraftValues = None
    ) -> Text | ToolResult:
        """Write a text with the configured language model, and fill in a template where none is configured.

        Raises:
            ToolError: The provider refused or failed.
            BudgetExceededError: The run's budget does not allow the call.
        """
        result = await generate.execute({"prompt": prompt}, context)
        result.metadata["written_by"] = "model"
        return result

    return llm_or_template


def review_tool(models: Models, version: str) -> FunctionTool:
    """Return `judge_or_pass` on a model.

    Args:
        models: Who judges.
        version: What stands for models and prompts in keys.
    """
    judge = judge_tool(models, version)

    @tool(name="judge_or_pass", category=ToolCategory.ANALYSIS, version=f"model {version}")
    async def judge_or_pass(
        context: ToolContext,
        text: ReviewedText,
        criteria: ReviewCriteria,
        threshold: ReviewThreshold = 0.7,
        reference: ReviewReference = None,
    ) -> Verdict | ToolResult:
        """Judge a text by a rubric with the configured language model; pass it on unjudged where none is configured.

        Raises:
            ToolError: The provider refused or failed.
            BudgetExceededError: The run's budget does not allow the call.
        """
        inputs = {"text": text, "criteria": criteria, "threshold": threshold, "reference": reference}
        return await judge.execute(inputs, context)

    return judge_or_pass
