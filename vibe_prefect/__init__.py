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

What needs Prefect (`WorkflowExecutor`, `run_plan`) is imported at its first use, so that checking a plan stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vibe_prefect.budget import Spending, paid_call
from vibe_prefect.checkpoints import WorkflowCheckpoint, WorkflowPersistenceManager
from vibe_prefect.compiler import Backing, CompiledNode, CompiledPlan, ExecutionPolicy, Simulate, compile_plan
from vibe_prefect.errors import (
    OutsideRootError,
    PathTakenError,
    PlanError,
    PlanRunError,
    Position,
    Problem,
    ResultTypeError,
    RunError,
    SelectionError,
    ToolDefinitionError,
    UsageError,
    VibePrefectError,
)
from vibe_prefect.graph import Edge, EdgeKind, PlanGraph, PlanLimits, build_graph
from vibe_prefect.handlers import NodeContext, NodeHandler
from vibe_prefect.models import NodePolicy, Vibe, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.planfile import LoadedPlan, load_plan
from vibe_prefect.progress import ProgressEvent, ProgressEventType, RunObserver
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult
from vibe_prefect.selection import Choice
from vibe_prefect.templates import InvalidTemplateError
from vibe_prefect.tools import (
    BaseTool,
    FileRef,
    OutputFolder,
    OutputPath,
    TemplateText,
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
from vibe_prefect.visualization import VisualizationFormat, WorkflowVisualizer

if TYPE_CHECKING:
    from vibe_prefect.engine.flow import run_plan
    from vibe_prefect.executor import WorkflowExecutor

__all__ = [
    "Backing",
    "BaseTool",
    "Choice",
    "CompiledNode",
    "CompiledPlan",
    "Edge",
    "EdgeKind",
    "ExecutionPolicy",
    "ExecutionResult",
    "ExecutionStatus",
    "FileRef",
    "InvalidTemplateError",
    "LoadedPlan",
    "NodeContext",
    "NodeHandler",
    "NodePolicy",
    "NodeResult",
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
    "ProgressEvent",
    "ProgressEventType",
    "ResultTypeError",
    "RunError",
    "RunObserver",
    "SelectionError",
    "Simulate",
    "Spending",
    "TemplateText",
    "ToolCategory",
    "ToolContext",
    "ToolDefinitionError",
    "ToolInputError",
    "ToolRegistry",
    "ToolResult",
    "ToolSpec",
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
    "WorkflowVisualizer",
    "Workspace",
    "build_graph",
    "compile_plan",
    "default_registry",
    "load_plan",
    "paid_call",
    "run_plan",
    "tool",
]

_NEEDS_PREFECT = {"WorkflowExecutor": "vibe_prefect.executor", "run_plan": "vibe_prefect.engine.flow"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_PREFECT:
        return getattr(import_module(_NEEDS_PREFECT[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
