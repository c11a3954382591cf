"""The tool that runs a workflow on the operator's ComfyUI server and fetches what it made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field
from typing_extensions import TypedDict

from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.templates.texts import is_template
from vibe_prefect.text.encodings import decode_text
from vibe_prefect.text.json_text import read_json
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.base import (
    Dependency,
    InputPath,
    InputProblem,
    OutputFolder,
    ToolCategory,
    ToolContext,
    ToolResult,
)
from vibe_prefect.tools.comfyui.endpoint import NAME, ComfyServer, Workflow
from vibe_prefect.tools.comfyui.workflow import filled, workflow_problems
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool
from vibe_prefect.tools.planned_calls import PlannedCall
from vibe_prefect.tools.provenance import provenance_of, write_with_provenance
from vibe_prefect.tools.secrecy.key_sources import named_source
from vibe_prefect.tools.workspace import FileRef, Workspace

if TYPE_CHECKING:
    from vibe_prefect.tools.comfyui.client import Made

VERSION = "1"

MAX_WORKFLOW = 5_000_000
"""The largest workflow file, in bytes."""


class ComfyOutput(TypedDict, total=False):
    """Output of `comfyui_run`: the first file, all files, and the texts that the workflow's nodes show."""

    path: str
    """The first file, relative to the run's output folder; missing, as the three below, where there are only texts."""

    mime: str
    """Its media type, such as `image/png`."""

    sha256: str
    """Hash of its content, hexadecimal."""

    bytes: int
    """Size of its content."""

    files: list[FileRef]
    """All files, by node in the workflow's order; empty where there are only texts."""

    text: str
    """All texts, with a blank line between each; missing where there are none."""

    texts: dict[str, list[str]]
    """The texts by the workflow's node; missing where there are none."""


def comfyui_tool(server: ComfyServer | None) -> FunctionTool:
    """Return the tool `comfyui_run`.

    Args:
        server: Where workflows run; `None` where the operator named none.
    """

    @tool(name=NAME, category=ToolCategory.IMAGE, version=VERSION)
    async def comfyui_run(  # noqa: PLR0913 - the tool's inputs
        context: ToolContext,
        workflow: Annotated[
            dict[str, Any] | None, Field(description="The workflow as ComfyUI exports it for its API.")
        ] = None,
        workflow_file: Annotated[
            InputPath | None,
            Field(min_length=1, max_length=1_000, description="Instead: a JSON file with it, below the input folder."),
        ] = None,
        inputs: Annotated[
            dict[str, Any] | None,
            Field(
                description="What to set in it, by node id and input: `{'6.text': 'a lighthouse', '3.seed': 7}`, or "
                "`{'6': {'text': 'a lighthouse'}}`."
            ),
        ] = None,
        outputs: Annotated[
            list[str] | None,
            Field(
                min_length=1,
                description="The ids of the nodes whose files and texts are wanted, previews included; each must make "
                "something. By default all that is saved, and all texts.",
            ),
        ] = None,
        folder: Annotated[
            OutputFolder,
            Field(min_length=1, max_length=500, description="Where to write, below the run's output folder."),
        ] = "comfyui/{{ node_id }}",
    ) -> ComfyOutput | ToolResult:
        """Run a ComfyUI workflow and fetch the files and texts that it makes.

        Raises:
            ToolInputError: There is not one workflow, or it lacks what `inputs` and `outputs` name.
            ToolError: The server refused it, or drops an output that is wanted; a node of it failed or made nothing; or
                the server was lost.
            OutsideRootError: A path leaves its folder.
            PathTakenError: Another node of the run fills the folder.
        """
        from anyio.to_thread import run_sync

        from vibe_prefect.tools.comfyui.client import execute

        if server is None:
            raise ToolError(f"{NAME}: the operator has named no ComfyUI server", retryable=False)
        workspace = workspace_of(context, NAME)
        workspace.claim_folder(folder)
        loaded = await run_sync(_workflow, workflow, workflow_file, workspace)
        label = "workflow" if workflow_file is None else f"workflow_file {workflow_file!r}"
        problems = workflow_problems(loaded, inputs or {}, outputs or (), server.nodes, label)
        if problems:
            raise ToolInputError(f"{NAME}: {'; '.join(problem.message for problem in problems)}")
        result = await execute(server, filled(loaded, inputs or {}), outputs, context.get("node_id", ""), context)
        return await run_sync(_write, result, folder, context)

    comfyui_run.spec.examples.append({"workflow_file": "workflow.json", "inputs": {"6.text": "a lighthouse"}})
    if server is None:
        missing = "name a server in PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_COMFYUI_URL"
        comfyui_run.state(missing_setting=missing)
    else:
        comfyui_run.state(
            check_plan=partial(_plan_problems, server),
            preflight=partial(_preflight, server),
            key_sources=named_source(server.key_place, "PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_COMFYUI_KEY"),
        )
    return comfyui_run


def _plan_problems(
    server: ComfyServer, inputs: Mapping[str, Any], _dependencies: Mapping[str, Dependency]
) -> list[InputProblem]:
    """Check a workflow that stands in the plan, and what is set in it."""
    workflow = inputs.get("workflow")
    if not isinstance(workflow, dict):
        return []
    return workflow_problems(cast("Workflow", workflow), *_as_written(inputs), server.nodes)


def _as_written(inputs: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Return the stated inputs, and the ids of wanted outputs that are no templates."""
    settings, outputs = inputs.get("inputs"), inputs.get("outputs")
    entries = cast("list[Any]", outputs) if isinstance(outputs, list) else []
    ids = [id for id in entries if isinstance(id, str) and not is_template(id)]
    return (cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}), ids


async def _preflight(server: ComfyServer, calls: Sequence[PlannedCall]) -> list[str]:
    """Compare the workflows of a run with the nodes that the server has."""
    from anyio.to_thread import run_sync

    from vibe_prefect.tools.comfyui.node_catalog import PlannedWorkflow, catalog_problems

    planned: list[PlannedWorkflow] = []
    problems: list[str] = []
    for call in calls:
        inputs = dict(call.inputs)
        path = inputs.get("workflow_file")
        if isinstance(path, str) and not is_template(path) and "workflow" not in inputs:
            try:
                inputs["workflow"] = await run_sync(_read, path, call.workspace)
            except (ToolInputError, OutsideRootError):
                continue  # an earlier node may make it; the node itself says what is wrong with it
        if not isinstance(inputs.get("workflow"), dict):
            continue
        plan_problems = _plan_problems(server, inputs, {})
        problems += [f"node {call.node!r}: {problem.message}" for problem in plan_problems]
        if not plan_problems:
            planned.append(PlannedWorkflow(call.node, inputs["workflow"], *_as_written(inputs)))
    return problems + await catalog_problems(server, planned)


def _workflow(workflow: Workflow | None, path: str | None, workspace: Workspace) -> Any:
    if (workflow is None) == (path is None):
        raise ToolInputError(f"{NAME}: give either workflow or workflow_file")
    return workflow if workflow is not None else _read(cast("str", path), workspace)


def _read(path: str, workspace: Workspace) -> Any:
    source = workspace.input_path(path)
    try:
        content = read_regular(source, MAX_WORKFLOW)
        if len(content) > MAX_WORKFLOW:
            raise ToolInputError(f"{NAME}: workflow_file {path!r} has more than {MAX_WORKFLOW:,} bytes")
        return read_json(decode_text(content, NAME, path, mime="application/json")).data
    except (OSError, ValueError) as error:
        if isinstance(error, ToolInputError):
            raise
        raise ToolInputError(f"{NAME}: workflow_file {path!r} cannot be read: {error}") from error


def _write(result: Made, folder: str, context: ToolContext) -> ToolResult:
    workspace = workspace_of(context, NAME)
    refs: list[FileRef] = []
    for number, (file, content) in enumerate(result.files, start=1):
        node = re.sub(r"[^A-Za-z0-9_-]", "_", file.node)[:50]
        path = f"{folder}/{number:03}-{node}{file.suffix}"
        facts = provenance_of(context, NAME, VERSION, workflow_node=file.node)
        refs.append(write_with_provenance(workspace, path, content, None, facts))
    output = ComfyOutput(**refs[0], files=refs) if refs else ComfyOutput(files=[])
    if result.texts:
        texts = [text for texts in result.texts.values() for text in texts]
        output |= ComfyOutput(text="\n\n".join(texts), texts=dict(result.texts))
    return ToolResult(True, output, metadata=result.facts)
