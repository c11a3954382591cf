"""Runs content-generation plans as Prefect flows.

The smallest real example:

    import asyncio
    from vibe_prefect import Vibe, WorkflowExecutor, WorkflowNode, WorkflowPlan

    plan = WorkflowPlan(
        id="hello",
        source_vibe=Vibe(description="A greeting"),
        root_nodes=[WorkflowNode(id="greet", type="generate", description="Say hello")],
    )
    result = asyncio.run(WorkflowExecutor().execute_plan(plan))
    print(result.get_summary())

What needs more than Python is imported at its first use, so that a command begins at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vibe_prefect.lazy_names import lazy_names

if TYPE_CHECKING:
    from vibe_prefect.checkpoints.checkpoint import WorkflowCheckpoint, WorkflowPersistenceManager
    from vibe_prefect.core.budget import Spending, paid_call
    from vibe_prefect.core.models import NodePolicy, Vibe, WorkflowNode, WorkflowNodeType, WorkflowPlan
    from vibe_prefect.core.progress import ProgressCallback, ProgressEvent, ProgressEventType, RunObserver
    from vibe_prefect.core.run_values import RunFacts
    from vibe_prefect.drawing.diagram import VisualizationFormat, WorkflowVisualizer
    from vibe_prefect.engine.flow import run_plan
    from vibe_prefect.engine.inputs.plan_block import WorkflowPlanBlock
    from vibe_prefect.engine.runs.resume_target import earlier_try
    from vibe_prefect.errors import (
        BudgetExceededError,
        CheckpointFileError,
        CheckpointIdError,
        CheckpointSchemaError,
        DamagedCheckpointError,
        InputsError,
        OutsideRootError,
        PathTakenError,
        PlanError,
        PlanningError,
        PlanRunError,
        Position,
        Problem,
        RecordStorageError,
        ReplanError,
        ResultTypeError,
        RunError,
        RunInUseError,
        SelectionError,
        ToolDefinitionError,
        ToolError,
        UnknownCheckpointError,
        UnknownRunError,
        UsageError,
        VibePrefectError,
    )
    from vibe_prefect.executor import WorkflowExecutor
    from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan, ExecutionPolicy, Simulate, compile_plan
    from vibe_prefect.plan.graph import Edge, EdgeKind, PlanGraph, PlanLimits
    from vibe_prefect.plan.graph_checks import build_graph
    from vibe_prefect.plan.reading.plan_file import LoadedPlan, load_plan
    from vibe_prefect.plan.selection import Choice
    from vibe_prefect.planner import MetaPlanner
    from vibe_prefect.provenance import ModelCall
    from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult
    from vibe_prefect.run.handlers import NodeContext, NodeHandler
    from vibe_prefect.templates.texts import InvalidTemplateError
    from vibe_prefect.tools import (
        BaseTool,
        FileRef,
        InputPath,
        OutputFolder,
        OutputPath,
        TemplateText,
        Tool,
        ToolCategory,
        ToolContext,
        ToolInputError,
        ToolRegistry,
        ToolResult,
        ToolSpec,
        Workspace,
        default_registry,
        tool,
    )
    from vibe_prefect.tools.builtin.media_tools import MediaConfig, media_tools
    from vibe_prefect.tools.comfyui.endpoint import ComfyServer
    from vibe_prefect.tools.fetch.guard import FetchConfig
    from vibe_prefect.tools.fetch.http import fetch_tool
    from vibe_prefect.tools.media.openai_media import OpenAIEndpoint
    from vibe_prefect.tools.model_calls import noted_call
    from vibe_prefect.tools.provenance import read_stamp
    from vibe_prefect.tools.waits import patiently

    __version__: str
    """The version that is installed, such as `0.1.0`."""

__all__ = [
    "Backing",
    "BaseTool",
    "BudgetExceededError",
    "CheckpointFileError",
    "CheckpointIdError",
    "CheckpointSchemaError",
    "Choice",
    "ComfyServer",
    "CompiledNode",
    "CompiledPlan",
    "DamagedCheckpointError",
    "Edge",
    "EdgeKind",
    "ExecutionPolicy",
    "ExecutionResult",
    "ExecutionStatus",
    "FetchConfig",
    "FileRef",
    "InputPath",
    "InputsError",
    "InvalidTemplateError",
    "LoadedPlan",
    "MediaConfig",
    "MetaPlanner",
    "ModelCall",
    "NodeContext",
    "NodeHandler",
    "NodePolicy",
    "NodeResult",
    "OpenAIEndpoint",
    "OutputFolder",
    "OutputPath",
    "OutsideRootError",
    "PathTakenError",
    "PlanError",
    "PlanGraph",
    "PlanLimits",
    "PlanRunError",
    "PlanningError",
    "Position",
    "Problem",
    "ProgressCallback",
    "ProgressEvent",
    "ProgressEventType",
    "RecordStorageError",
    "ReplanError",
    "ResultTypeError",
    "RunError",
    "RunFacts",
    "RunInUseError",
    "RunObserver",
    "SelectionError",
    "Simulate",
    "Spending",
    "TemplateText",
    "Tool",
    "ToolCategory",
    "ToolContext",
    "ToolDefinitionError",
    "ToolError",
    "ToolInputError",
    "ToolRegistry",
    "ToolResult",
    "ToolSpec",
    "UnknownCheckpointError",
    "UnknownRunError",
    "UsageError",
    "Vibe",
    "VibePrefectError",
    "VisualizationFormat",
    "WorkflowCheckpoint",
    "WorkflowExecutor",
    "WorkflowNode",
    "WorkflowNodeType",
    "WorkflowPersistenceManager",
    "WorkflowPlan",
    "WorkflowPlanBlock",
    "WorkflowVisualizer",
    "Workspace",
    "__version__",
    "build_graph",
    "compile_plan",
    "default_registry",
    "earlier_try",
    "fetch_tool",
    "load_plan",
    "media_tools",
    "noted_call",
    "paid_call",
    "patiently",
    "read_stamp",
    "run_plan",
    "tool",
]

_MODULES = {
    "Backing": "vibe_prefect.plan.compiler",
    "BaseTool": "vibe_prefect.tools",
    "BudgetExceededError": "vibe_prefect.errors",
    "CheckpointFileError": "vibe_prefect.errors",
    "CheckpointIdError": "vibe_prefect.errors",
    "CheckpointSchemaError": "vibe_prefect.errors",
    "Choice": "vibe_prefect.plan.selection",
    "ComfyServer": "vibe_prefect.tools.comfyui.endpoint",
    "CompiledNode": "vibe_prefect.plan.compiler",
    "CompiledPlan": "vibe_prefect.plan.compiler",
    "DamagedCheckpointError": "vibe_prefect.errors",
    "Edge": "vibe_prefect.plan.graph",
    "EdgeKind": "vibe_prefect.plan.graph",
    "ExecutionPolicy": "vibe_prefect.plan.compiler",
    "ExecutionResult": "vibe_prefect.results",
    "ExecutionStatus": "vibe_prefect.results",
    "FetchConfig": "vibe_prefect.tools.fetch.guard",
    "FileRef": "vibe_prefect.tools",
    "InputPath": "vibe_prefect.tools",
    "InputsError": "vibe_prefect.errors",
    "InvalidTemplateError": "vibe_prefect.templates.texts",
    "LoadedPlan": "vibe_prefect.plan.reading.plan_file",
    "MediaConfig": "vibe_prefect.tools.builtin.media_tools",
    "MetaPlanner": "vibe_prefect.planner",
    "ModelCall": "vibe_prefect.provenance",
    "NodeContext": "vibe_prefect.run.handlers",
    "NodeHandler": "vibe_prefect.run.handlers",
    "NodePolicy": "vibe_prefect.core.models",
    "NodeResult": "vibe_prefect.results",
    "OpenAIEndpoint": "vibe_prefect.tools.media.openai_media",
    "OutputFolder": "vibe_prefect.tools",
    "OutputPath": "vibe_prefect.tools",
    "OutsideRootError": "vibe_prefect.errors",
    "PathTakenError": "vibe_prefect.errors",
    "PlanError": "vibe_prefect.errors",
    "PlanGraph": "vibe_prefect.plan.graph",
    "PlanLimits": "vibe_prefect.plan.graph",
    "PlanRunError": "vibe_prefect.errors",
    "PlanningError": "vibe_prefect.errors",
    "Position": "vibe_prefect.errors",
    "Problem": "vibe_prefect.errors",
    "ProgressCallback": "vibe_prefect.core.progress",
    "ProgressEvent": "vibe_prefect.core.progress",
    "ProgressEventType": "vibe_prefect.core.progress",
    "RecordStorageError": "vibe_prefect.errors",
    "ReplanError": "vibe_prefect.errors",
    "ResultTypeError": "vibe_prefect.errors",
    "RunError": "vibe_prefect.errors",
    "RunFacts": "vibe_prefect.core.run_values",
    "RunInUseError": "vibe_prefect.errors",
    "RunObserver": "vibe_prefect.core.progress",
    "SelectionError": "vibe_prefect.errors",
    "Simulate": "vibe_prefect.plan.compiler",
    "Spending": "vibe_prefect.core.budget",
    "TemplateText": "vibe_prefect.tools",
    "Tool": "vibe_prefect.tools",
    "ToolCategory": "vibe_prefect.tools",
    "ToolContext": "vibe_prefect.tools",
    "ToolDefinitionError": "vibe_prefect.errors",
    "ToolError": "vibe_prefect.errors",
    "ToolInputError": "vibe_prefect.tools",
    "ToolRegistry": "vibe_prefect.tools",
    "ToolResult": "vibe_prefect.tools",
    "ToolSpec": "vibe_prefect.tools",
    "UnknownCheckpointError": "vibe_prefect.errors",
    "UnknownRunError": "vibe_prefect.errors",
    "UsageError": "vibe_prefect.errors",
    "Vibe": "vibe_prefect.core.models",
    "VibePrefectError": "vibe_prefect.errors",
    "VisualizationFormat": "vibe_prefect.drawing.diagram",
    "WorkflowCheckpoint": "vibe_prefect.checkpoints.checkpoint",
    "WorkflowExecutor": "vibe_prefect.executor",
    "WorkflowNode": "vibe_prefect.core.models",
    "WorkflowNodeType": "vibe_prefect.core.models",
    "WorkflowPersistenceManager": "vibe_prefect.checkpoints.checkpoint",
    "WorkflowPlan": "vibe_prefect.core.models",
    "WorkflowPlanBlock": "vibe_prefect.engine.inputs.plan_block",
    "WorkflowVisualizer": "vibe_prefect.drawing.diagram",
    "Workspace": "vibe_prefect.tools",
    "build_graph": "vibe_prefect.plan.graph_checks",
    "compile_plan": "vibe_prefect.plan.compiler",
    "default_registry": "vibe_prefect.tools",
    "earlier_try": "vibe_prefect.engine.runs.resume_target",
    "fetch_tool": "vibe_prefect.tools.fetch.http",
    "load_plan": "vibe_prefect.plan.reading.plan_file",
    "media_tools": "vibe_prefect.tools.builtin.media_tools",
    "noted_call": "vibe_prefect.tools.model_calls",
    "paid_call": "vibe_prefect.core.budget",
    "patiently": "vibe_prefect.tools.waits",
    "read_stamp": "vibe_prefect.tools.provenance",
    "run_plan": "vibe_prefect.engine.flow",
    "tool": "vibe_prefect.tools",
}
"""Module of each name, imported at its first use."""

_lazy_name = lazy_names(__name__, _MODULES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("vibe-prefect")
    return _lazy_name(name)


def __dir__() -> list[str]:
    return __all__
