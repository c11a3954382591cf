"""The tools that a configured model brings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial

from anyio.to_thread import run_sync

from vibe_prefect.llm.calls import ModelLimits, Models
from vibe_prefect.llm.config import MISSING, ModelConfig
from vibe_prefect.llm.drafts import draft_tool, review_tool
from vibe_prefect.llm.generate import generate_tool
from vibe_prefect.llm.judge import judge_tool
from vibe_prefect.llm.prompts import PROMPTS_VERSION
from vibe_prefect.llm.provider import ProviderClient, provider_lack
from vibe_prefect.models import NodePolicy, WorkflowNodeType
from vibe_prefect.tools.base import ToolCategory
from vibe_prefect.tools.functions import FunctionTool
from vibe_prefect.tools.preflight import PlannedCall, Preflight

MODEL_POLICY = NodePolicy(retries=3, retry_delay=2.0)
"""How nodes on a model are executed unless the plan says otherwise. What is final, such as a bad key, a refused request
or a gate that did not pass, is not tried again whatever a policy says."""

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
        one.default_policy = MODEL_POLICY
        one.model_limits = limits if one.spec.category is ToolCategory.TEXT else verdicts
        one.uses_vibe = True
        if isinstance(models.asker, ProviderClient):
            one.missing_extra = MISSING
            one.preflight = _provider_check(partial(provider_lack, models.config, one.model_limits.usual))
            one.key_sources = models.config.key_sources(one.model_limits.usual)
    return made


def _provider_check(lack: Callable[[], str | None]) -> Preflight:
    """Return a preflight for what takes the import of a client library to find out."""

    async def preflight(calls: Sequence[PlannedCall]) -> Sequence[str]:
        found = await run_sync(lack)
        return [found] if found is not None else []

    return preflight


def _version(config: ModelConfig) -> str:
    """Return what enters keys: another model, or other prompts, mean another result."""
    deciding = [config.usual, config.judge, config.base_url, config.temperature, config.max_tokens]
    digest = hashlib.sha256(json.dumps([*deciding, config.context_tokens, config.structure]).encode()).hexdigest()
    return f"{PROMPTS_VERSION} {config.usual} {digest[:12]}"
