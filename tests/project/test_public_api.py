"""The public surface: a change to any of this is a change for users, and belongs into the changelog."""

from __future__ import annotations

import builtins
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from typing import Any

import pytest

import vibe_prefect
from vibe_prefect import WorkflowExecutor

PUBLIC = [
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

CONTRACT = {
    "section 1": ["Vibe", "WorkflowNode", "WorkflowNodeType", "WorkflowPlan"],
    "section 2": ["ExecutionResult", "ExecutionStatus", "NodeResult"],
    "section 3": ["WorkflowExecutor"],
    "section 5": ["BaseTool", "ToolCategory", "ToolRegistry", "ToolResult", "ToolSpec"],
    "section 7": ["ProgressEvent", "ProgressEventType"],
    "section 8": ["WorkflowCheckpoint", "WorkflowPersistenceManager"],
    "planner": ["MetaPlanner"],
    "drawings": ["VisualizationFormat", "WorkflowVisualizer"],
}


def exported() -> dict[str, Any]:
    return {name: getattr(vibe_prefect, name) for name in PUBLIC}


def test_the_public_names_are_these() -> None:
    assert sorted(vibe_prefect.__all__) == PUBLIC
    assert sorted(PUBLIC) == PUBLIC
    assert sorted(dir(vibe_prefect)) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"from vibe_prefect import {name}", namespace)  # noqa: S102
    assert namespace[name] == getattr(vibe_prefect, name)


@pytest.mark.parametrize("section", CONTRACT)
def test_the_contracts_names_are_at_the_top(section: str) -> None:
    assert set(CONTRACT[section]) <= set(PUBLIC)


def test_every_package_says_whether_it_is_public() -> None:
    names = [module.name for module in pkgutil.walk_packages(vibe_prefect.__path__, "vibe_prefect.") if module.ispkg]
    exporting = {name for name in names if import_module(name).__all__}
    assert exporting == {"vibe_prefect.cli", "vibe_prefect.operations", "vibe_prefect.testing", "vibe_prefect.tools"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vibe_prefect' has no attribute 'nope'"):
        _ = vibe_prefect.nope  # pyright: ignore


def test_the_executor_takes_the_contracts_arguments_in_their_order() -> None:
    parameters = list(inspect.signature(WorkflowExecutor).parameters.values())
    positional = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert {one.name: one.default for one in positional} == {
        "progress_callback": None,
        "checkpoint_interval": None,
        "checkpoint_dir": ".vibe_checkpoints",
        "tool_registry": None,
    }
    assert [one.name for one in positional] == [
        "progress_callback",
        "checkpoint_interval",
        "checkpoint_dir",
        "tool_registry",
    ]
    rest = [one for one in parameters if one not in positional]
    assert rest
    assert all(one.kind is one.KEYWORD_ONLY and one.default is not one.empty for one in rest)


def test_a_new_executor_has_the_contracts_attributes() -> None:
    executor = WorkflowExecutor()
    assert executor.last_checkpoint_id is None
    assert set(executor.node_handlers) == set(vibe_prefect.WorkflowNodeType)
    executor.node_handlers[vibe_prefect.WorkflowNodeType.GENERATE] = print
    assert print not in WorkflowExecutor().node_handlers.values()


FIELDS: list[tuple[str, list[str]]] = [
    ("NodeResult", ["node_id", "status", "result", "error", "duration"]),
    ("ExecutionResult", ["plan_id"]),
    ("ProgressEvent", ["event_type", "node_id", "progress_percent", "message", "metadata"]),
    ("ToolSpec", ["name", "description", "category", "input_schema", "output_schema", "examples"]),
    ("ToolResult", ["success", "output", "metadata", "error"]),
]


@pytest.mark.parametrize(("name", "first"), FIELDS)
def test_the_contracts_classes_take_their_arguments_in_the_contracts_order(name: str, first: list[str]) -> None:
    parameters = list(inspect.signature(getattr(vibe_prefect, name)).parameters)
    assert parameters[: len(first)] == first


def documented(thing: Any) -> bool:
    return bool((inspect.getdoc(thing) or "").strip())


def test_every_public_class_and_function_has_a_docstring_of_its_own() -> None:
    found = {
        name: one
        for name, one in exported().items()
        if inspect.isclass(one) or inspect.isfunction(one) or name == "run_plan"
    }
    assert {"WorkflowExecutor", "compile_plan", "run_plan"} <= found.keys()
    own = {name: one.__dict__.get("__doc__") or getattr(one, "__doc__", None) for name, one in found.items()}
    assert [name for name, text in own.items() if not (text or "").strip()] == []


def public_methods(owner: type) -> list[tuple[str, Any]]:
    """The methods and properties that a class of ours defines itself."""
    return [
        (f"{owner.__name__}.{name}", value)
        for name, value in vars(owner).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property | cached_property | classmethod | staticmethod))
    ]


def test_every_public_method_has_a_docstring() -> None:
    methods = [
        method
        for one in exported().values()
        if inspect.isclass(one) and one.__module__.startswith("vibe_prefect")
        for method in public_methods(one)
    ]
    assert len(methods) > 30
    assert [name for name, method in methods if not documented(method)] == []


def test_the_package_explains_itself() -> None:
    text = inspect.getdoc(vibe_prefect) or ""
    assert "WorkflowExecutor().execute_plan(plan)" in text
    compile(text[text.index("import asyncio") :].split("\n\nWhat needs")[0].replace("\n    ", "\n"), "example", "exec")


def promised(docstring: str | None) -> set[str]:
    """The exceptions that a docstring names under `Raises:`."""
    section = re.search(r"^Raises:\n((?: {4}.*\n?)+)", inspect.cleandoc(docstring or ""), re.MULTILINE)
    return set(re.findall(r"^ {4}(\w+):", section[1], re.MULTILINE)) if section else set()


def docstrings() -> Iterator[tuple[str, str | None]]:
    for name, thing in exported().items():
        yield name, getattr(thing, "__doc__", None)
        if inspect.isclass(thing):
            yield from ((title, getattr(method, "__doc__", None)) for title, method in public_methods(thing))


def test_every_exception_that_a_public_docstring_promises_is_public() -> None:
    raised = {error for _, text in docstrings() for error in promised(text)}
    assert {"PlanError", "UnknownRunError", "ToolError"} <= raised
    assert {error for error in raised if error not in PUBLIC and not hasattr(builtins, error)} == set()


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        ("vibe_prefect.planfile", "vibe_prefect.plan.reading.plan_file"),
        ("vibe_prefect.engine.toolbox", "vibe_prefect.engine.inputs.configured_tools"),
        ("vibe_prefect.tools.previews", "vibe_prefect.tools.media.previews"),
    ],
)
def test_addresses_of_earlier_versions_still_lead_somewhere(earlier: str, now: str) -> None:
    module = import_module(earlier)
    assert all(getattr(module, name) is getattr(import_module(now), name) for name in module.__all__)


def test_importing_the_package_imports_neither_prefect_nor_what_reaches_out() -> None:
    heavy = ["prefect", "httpx", "pydantic_ai", "openai", "PIL", "markdown_it", "vibe_prefect.tools.fetch.http"]
    program = f"import sys, vibe_prefect; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"


def test_the_version_is_the_installed_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", vibe_prefect.__version__)
