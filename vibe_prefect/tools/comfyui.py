"""The tool that runs a workflow on the operator's ComfyUI server and fetches what it made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, cast

from anyio.to_thread import run_sync
from pydantic import Field

from vibe_prefect.errors import ToolError, did_you_mean, shorten
from vibe_prefect.tools.base import OutputFolder, ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.comfy_server import NAME, ComfyServer, Workflow
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool
from vibe_prefect.tools.keysources import named_source
from vibe_prefect.tools.provenance import provenance_of, write_with_provenance
from vibe_prefect.tools.workspace import FileRef, Workspace

if TYPE_CHECKING:
    from vibe_prefect.tools.comfy_client import Made

VERSION = "1"

MAX_WORKFLOW = 5_000_000
"""The largest workflow file, in bytes."""


class ComfyFiles(FileRef):
    """What `comfyui_run` makes: the first file, and all of them."""

    files: list[FileRef]
    """All files, by node in the workflow's order."""


def comfyui_tool(server: ComfyServer | None) -> FunctionTool:
    """Return the tool `comfyui_run`.

    Args:
        server: Where workflows run; `None` where the operator named none.
    """

    @tool(name=NAME, category=ToolCategory.IMAGE, version=VERSION)
    async def comfyui_run(
        context: ToolContext,
        workflow: Annotated[
            dict[str, Any] | None, Field(description="The workflow as ComfyUI exports it for its API.")
        ] = None,
        workflow_file: Annotated[
            str | None,
            Field(min_length=1, max_length=1_000, description="Instead: a JSON file with it, below the input folder."),
        ] = None,
        inputs: Annotated[
            dict[str, Any] | None,
            Field(description="What to set in it, by node id and input: `{'6.text': 'a lighthouse', '3.seed': 7}`."),
        ] = None,
        outputs: Annotated[
            list[str] | None, Field(min_length=1, description="The ids of the nodes whose files are fetched; else all.")
        ] = None,
        folder: Annotated[
            OutputFolder,
            Field(min_length=1, max_length=500, description="Where to write, below the run's output folder."),
        ] = "comfyui/{{ node_id }}",
    ) -> ComfyFiles | ToolResult:
        """Run a ComfyUI workflow and fetch the files that it saves.

        Raises:
            ToolInputError: There is not one workflow, or it lacks what `inputs` and `outputs` name.
            ToolError: The server refused it, a node of it failed, or the server was lost.
            OutsideRootError: A path leaves its folder.
            PathTakenError: Another node of the run fills the folder.
        """
        from vibe_prefect.tools.comfy_client import execute

        if server is None:
            raise ToolError(f"{NAME}: the operator has named no ComfyUI server", retryable=False)
        workspace = workspace_of(context, NAME)
        workspace.claim_folder(folder)
        filled = _filled(await run_sync(_workflow, workflow, workflow_file, workspace), inputs or {})
        _check_nodes(filled, server, outputs)
        made = await execute(server, filled, outputs, context.get("node_id", ""), context)
        return await run_sync(_write, made, folder, context)

    comfyui_run.spec.examples.append({"workflow_file": "workflow.json", "inputs": {"6.text": "a lighthouse"}})
    if server is None:
        comfyui_run.missing_setting = "name a server in PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_COMFYUI_URL"
    else:
        setting = "PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_COMFYUI_KEY"
        comfyui_run.key_sources = named_source(server.key_place, setting)
    return comfyui_run


def _workflow(given: Workflow | None, path: str | None, workspace: Workspace) -> Workflow:
    if (given is None) == (path is None):
        raise ToolInputError(f"{NAME}: give either workflow or workflow_file")
    return given if given is not None else _read(cast("str", path), workspace)


def _read(path: str, workspace: Workspace) -> Workflow:
    source = workspace.input_path(path)
    try:
        with source.open("rb") as file:
            content = file.read(MAX_WORKFLOW + 1)
        if len(content) > MAX_WORKFLOW:
            raise ToolInputError(f"{NAME}: workflow_file {path!r} has more than {MAX_WORKFLOW:,} bytes")
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ToolInputError):
            raise
        raise ToolInputError(f"{NAME}: workflow_file {path!r} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ToolInputError(f"{NAME}: workflow_file {path!r} holds no workflow but {shorten(found)}")
    return cast("Workflow", found)


def _filled(workflow: Workflow, inputs: Mapping[str, Any]) -> Workflow:
    """Return a copy of the workflow with inputs set."""
    filled = deepcopy(workflow)
    for id, node in filled.items():
        if not _is_node(node):
            hint = "; export it by 'Export (API)'" if id in ("nodes", "links", "last_node_id") else ""
            raise ToolInputError(f"{NAME}: node {id!r} of the workflow has no class_type and inputs{hint}")
    for name, value in inputs.items():
        id, _, field = name.rpartition(".")
        _known(id, filled, f"inputs: {name!r} names node {id!r}")
        known = cast("dict[str, Any]", filled[id]["inputs"])
        _known(field, known, f"inputs: {name!r} names input {field!r}")
        known[field] = value
    if not filled:
        raise ToolInputError(f"{NAME}: the workflow has no nodes")
    return filled


def _is_node(node: Any) -> bool:
    if not isinstance(node, dict):
        return False
    found = cast("dict[str, Any]", node)
    return isinstance(found.get("class_type"), str) and isinstance(found.get("inputs"), dict)


def _known(name: str, known: Mapping[str, Any], what: str) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
        raise ToolInputError(f"{NAME}: {what}, which the workflow does not have{hint}")


def _check_nodes(workflow: Workflow, server: ComfyServer, outputs: list[str] | None) -> None:
    for id in outputs or ():
        _known(id, workflow, f"outputs name node {id!r}")
    for id, node in workflow.items():
        if server.nodes is not None and node["class_type"] not in server.nodes:
            allowed = ", ".join(server.nodes)
            raise ToolInputError(
                f"{NAME}: node {id!r} is a {node['class_type']}; the operator allows {allowed or 'no class at all'}"
            )


def _write(made: Made, folder: str, context: ToolContext) -> ToolResult:
    workspace = workspace_of(context, NAME)
    refs: list[FileRef] = []
    for number, (file, content) in enumerate(made.files, start=1):
        node = re.sub(r"[^A-Za-z0-9_-]", "_", file.node)[:50]
        path = f"{folder}/{number:03}-{node}{file.suffix}"
        facts = provenance_of(context, NAME, VERSION, workflow_node=file.node)
        refs.append(write_with_provenance(workspace, path, content, None, facts))
    return ToolResult(True, ComfyFiles(**refs[0], files=refs), metadata=made.facts)
