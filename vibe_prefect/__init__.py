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

What needs Prefect, and the tools that reach out, are imported at their first use, so that checking a plan stays quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from vibe_prefect.checkpoints.checkpoint import WorkflowCheckpoint, WorkflowPersistenceManager
from vibe_prefect.core.budget import Spending, paid_call
from vibe_prefect.core.models import NodePolicy, Vibe, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.progress import ProgressCallback, ProgressEvent, ProgressEventType, RunObserver
from vibe_prefect.core.run_values import RunFacts
from vibe_prefect.drawing.diagram import VisualizationFormat, WorkflowVisualizer
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
    PlanRunError,
    Position,
    Problem,
    RecordStorageError,
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
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan, ExecutionPolicy, Simulate, compile_plan
from vibe_prefect.plan.graph import Edge, EdgeKind, PlanGraph, PlanLimits, build_graph
from vibe_prefect.plan.reading.plan_file import LoadedPlan, load_plan
from vibe_prefect.plan.selection import Choice
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult
from vibe_prefect.run.handlers import NodeContext, NodeHandler
from vibe_prefect.templates.language import InvalidTemplateError
from vibe_prefect.tools import (
    BaseTool,
    FileRef,
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

if TYPE_CHECKING:
    from vibe_prefect.engine.flow import run_plan
    from vibe_prefect.engine.inputs.plan_block import WorkflowPlanBlock
    from vibe_prefect.engine.runs.resume_target import earlier_try
    from vibe_prefect.executor import WorkflowExecutor
    from vibe_prefect.tools.builtin.media_tools import MediaConfig, media_tools
    from vibe_prefect.tools.comfyui.endpoint import ComfyServer
    from vibe_prefect.tools.fetch.guard import FetchConfig
    from vibe_prefect.tools.fetch.http import fetch_tool
    from vibe_prefect.tools.media.openai_media import OpenAIEndpoint
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
    "InputsError",
    "InvalidTemplateError",
    "LoadedPlan",
    "MediaConfig",
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
    "Position",
    "Problem",
    "ProgressCallback",
    "ProgressEvent",
    "ProgressEventType",
    "RecordStorageError",
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
    "paid_call",
    "patiently",
    "read_stamp",
    "run_plan",
    "tool",
]

_LAZY = {
    "ComfyServer": "vibe_prefect.tools.comfyui.endpoint",
    "FetchConfig": "vibe_prefect.tools.fetch.guard",
    "MediaConfig": "vibe_prefect.tools.builtin.media_tools",
    "OpenAIEndpoint": "vibe_prefect.tools.media.openai_media",
    "WorkflowExecutor": "vibe_prefect.executor",
    "WorkflowPlanBlock": "vibe_prefect.engine.inputs.plan_block",
    "earlier_try": "vibe_prefect.engine.runs.resume_target",
    "fetch_tool": "vibe_prefect.tools.fetch.http",
    "media_tools": "vibe_prefect.tools.builtin.media_tools",
    "patiently": "vibe_prefect.tools.waits",
    "read_stamp": "vibe_prefect.tools.provenance",
    "run_plan": "vibe_prefect.engine.flow",
}
"""Modules of the names that are imported at their first use."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name == "__version__":
        return version("vibe-prefect")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
