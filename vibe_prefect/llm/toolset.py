"""The tools that a configured model brings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from vibe_prefect.llm.calls import ModelLimits, Models
from vibe_prefect.llm.config import MISSING, ModelConfig
from vibe_prefect.llm.connect import provider_lack
from vibe_prefect.llm.drafts import draft_tool, review_tool
from vibe_prefect.llm.generate import generate_tool
from vibe_prefect.llm.given import media_alone
from vibe_prefect.llm.judge import judge_tool
from vibe_prefect.llm.prompts import PROMPTS_VERSION
from vibe_prefect.llm.provider import ProviderClient
from vibe_prefect.models import WorkflowNodeType
from vibe_prefect.tools.base import PAID_POLICY, Tool, ToolCategory
from vibe_prefect.tools.functions import FunctionTool

GENERATED = (WorkflowNodeType.ANALYZE, WorkflowNodeType.GENERATE, WorkflowNodeType.TRANSFORM)
JUDGED = (WorkflowNodeType.VALIDATE,)


def model_tools(models: Models) -> tuple[FunctionTool, ...]:
    """Return the tools of a model: `llm_generate` and `judge`, which also run nodes that name no tool.

    Args:
        models: Who answers, and within which limits.
    """
    version = _version(models.config)
    generate, judge = generate_tool(models, version), judge_tool(models, version)
    generate.default_for, judge.default_for = GENERATED, JUDGED
    limits = ModelLimits(models, models.config.usual)
    verdicts = ModelLimits(models, models.config.judge or models.config.usual)
    made = (generate, judge, draft_tool(models, version), review_tool(models, version))
    for one in made:
        one.default_policy = PAID_POLICY
        one.model_limits = limits if one.spec.category is ToolCategory.TEXT else verdicts
        one.uses_vibe = True
        one.node_check = partial(_node_lack, models)
        if isinstance(models.asker, ProviderClient):
            one.missing_extra = MISSING
            one.late_check = partial(provider_lack, models.config, one.model_limits.usual)
            one.key_sources = models.config.key_sources(one.model_limits.usual)
    return made


def _node_lack(
    models: Models, inputs: Mapping[str, Any], makers: Mapping[str, Tool | None]
) -> tuple[tuple[str, ...], str] | None:
    """Return why a model cannot work for a node, where that is certain before the run; see `FunctionTool.node_check`.

    Either it could read nothing of what the node depends on, or the model that the node names has no key.
    """
    named = inputs.get("model")
    if isinstance(named, str) and isinstance(models.asker, ProviderClient):
        lack = next((source.lack for source in models.config.key_sources(named) if source.lack), None)
        if lack is not None:
            return ("parameters", "tool_inputs", "model"), f"the model needs a key: {lack}"
    apart = inputs.get("text") is not None or inputs.get("dependencies", True) is not True
    blind = None if apart else media_alone(makers)
    return None if blind is None else (("dependencies",), blind)


def _version(config: ModelConfig) -> str:
    """Return what enters keys: another model, or other prompts, mean another result."""
    deciding = [config.usual, config.judge, config.base_url, config.temperature, config.max_tokens]
    digest = hashlib.sha256(json.dumps([*deciding, config.context_tokens, config.structure]).encode()).hexdigest()
    return f"{PROMPTS_VERSION} {config.usual} {digest[:12]}"
