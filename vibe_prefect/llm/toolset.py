"""The tools that a configured model brings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from anyio.to_thread import run_sync

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.errors import ToolInputError
from vibe_prefect.llm.generate import generate_tool
from vibe_prefect.llm.given import nothing_to_read
from vibe_prefect.llm.judge import judge_tool
from vibe_prefect.llm.local_model.model_file import MISSING as MISSING_LOCAL
from vibe_prefect.llm.model_drafts import draft_tool, review_tool
from vibe_prefect.llm.prompts import PROMPTS_VERSION
from vibe_prefect.llm.provider.calls import ModelLimits, Models
from vibe_prefect.llm.provider.connect import provider_lack
from vibe_prefect.llm.provider.model_config import MISSING, ModelConfig
from vibe_prefect.llm.provider.provider import ProviderClient
from vibe_prefect.templates.texts import is_template
from vibe_prefect.tools.base import PAID_POLICY, Dependency, InputProblem, ToolCategory
from vibe_prefect.tools.functions import FunctionTool
from vibe_prefect.tools.planned_calls import PlannedCall

GENERATED = (WorkflowNodeType.ANALYZE, WorkflowNodeType.GENERATE, WorkflowNodeType.TRANSFORM)
JUDGED = (WorkflowNodeType.VALIDATE,)


def model_tools(models: Models) -> tuple[FunctionTool, ...]:
    """Return the tools of a model: `llm_generate` and `judge`, which also run nodes that name no tool.

    Args:
        models: Who answers, and within which limits.
    """
    version = _version(models.config)
    generate, judge = generate_tool(models, version), judge_tool(models, version)
    generate.state(default_for=GENERATED)
    judge.state(default_for=JUDGED)
    limits = ModelLimits(models, models.config.usual)
    verdicts = ModelLimits(models, models.config.judge or models.config.usual)
    tools = (generate, judge, draft_tool(models, version), review_tool(models, version))
    for tool in tools:
        judges = tool.spec.category is not ToolCategory.TEXT
        cost = verdicts if judges else limits
        check = partial(_plan_problems, models, judges)
        tool.state(default_policy=PAID_POLICY, model_limits=cost, uses_vibe=True, check_plan=check)
        if isinstance(models.asker, ProviderClient):
            tool.state(
                missing_extra=MISSING or (MISSING_LOCAL if models.config.local_model(cost.usual) else None),
                missing_setting=_missing_setting(models.config, cost.usual),
                preflight=partial(_preflight, models.config, cost.usual),
                key_sources=models.config.key_sources(cost.usual),
            )
    return tools


def _plan_problems(
    models: Models, judges: bool, inputs: Mapping[str, Any], dependencies: Mapping[str, Dependency]
) -> list[InputProblem]:
    """Find why a model cannot work for a node; see `PlanCheck`.

    The operator does not allow the model that the node names, or it has no key; or there is nothing for it to read.
    """
    problems: list[InputProblem] = []
    model = inputs.get("model")
    lack = _model_lack(models, model) if isinstance(model, str) and not is_template(model) else None
    if lack is not None:
        problems.append(InputProblem(("model",), lack))
    apart = inputs.get("text") is not None or inputs.get("dependencies", True) is not True
    blind = None if apart else nothing_to_read(dependencies, judges=judges)
    if blind is not None:
        problems.append(InputProblem((), blind, of_dependencies=True))
    return problems


def _model_lack(models: Models, model: str) -> str | None:
    try:
        models.config.chosen(model)
    except ToolInputError as error:
        return str(error)
    if not isinstance(models.asker, ProviderClient):
        return None
    if setting := _missing_setting(models.config, model):
        return f"the model needs a setting: {setting}"
    if MISSING_LOCAL is not None and models.config.local_model(model) is not None:
        return f"the model needs more than is installed: {MISSING_LOCAL}"
    lack = next((source.lack for source in models.config.key_sources(model) if source.lack), None)
    return None if lack is None else f"the model needs a key: {lack}"


def _missing_setting(config: ModelConfig, model: str) -> str | None:
    local = config.local_model(model)
    return None if local is None else local.lack


async def _preflight(config: ModelConfig, default: str, calls: Sequence[PlannedCall]) -> list[str]:
    """Find what the providers of the models lack that a run will ask."""
    stated_models = (call.inputs.get("model") or default for call in calls)
    models = dict.fromkeys(model for model in stated_models if isinstance(model, str) and not is_template(model))
    lacks = await run_sync(lambda: [provider_lack(config, model) for model in models])
    return [lack for lack in lacks if lack is not None]


def _version(config: ModelConfig) -> str:
    """Return what enters keys: another model, or other prompts, mean another result."""
    deciding = [config.usual, config.judge, config.base_url, config.temperature, config.max_tokens]
    if config.local is not None:
        deciding.append(config.local.name)  # a node may name it as `local`, whatever its file
    digest = hashlib.sha256(json.dumps([*deciding, config.context_tokens, config.structure]).encode()).hexdigest()
    return f"{PROMPTS_VERSION} {config.usual} {digest[:12]}"
