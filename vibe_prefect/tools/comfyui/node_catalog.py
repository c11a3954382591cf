"""Workflows compared with the nodes that a ComfyUI server has, before a run begins."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast
from urllib.parse import quote

import anyio
import httpx
from anyio.to_thread import run_sync

from vibe_prefect.errors import ToolError, did_you_mean, shorten
from vibe_prefect.templates.texts import is_template
from vibe_prefect.tools.comfyui.endpoint import ComfyServer, Workflow
from vibe_prefect.tools.comfyui.workflow import filled, linked
from vibe_prefect.tools.secrecy.key_sources import obtained
from vibe_prefect.tools.secrecy.known import scrubbed_bytes

SECONDS = 10.0
"""Seconds that the server may take for all its answers."""

HINT_SECONDS = 5.0
"""Seconds that it may take to list all of its classes, for a hint."""

AT_ONCE = 8
"""Classes that are requested at the same time."""

MAX_BYTES = 64_000_000
"""The longest answer, in bytes; a server with many models lists each of them in several nodes."""

MAX_NAMED = 5
"""Choices that a message lists where none is similar to the plan's value."""

NOT_FOUND = 404

logger = logging.getLogger(__name__)

_ELSEWHERE = ("image_upload", "video_upload", "audio_upload", "file_upload", "remote", "remote_combo", "multiselect")
"""Options of a choice whose values the server's list need not hold."""

_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class PlannedWorkflow:
    """Workflow that a node of the plan will run, as the plan states it."""

    node: str
    """Id of the plan's node."""

    workflow: Workflow
    """The workflow."""

    inputs: Mapping[str, Any]
    """Inputs that the plan sets in it."""

    outputs: Sequence[str]
    """Ids of the workflow's nodes whose outputs are wanted; empty for all."""


Catalog = Mapping[str, Mapping[str, Any] | None]
"""Descriptions of node classes by the server; `None` for one it lacks. Classes without an answer are left out."""


async def catalog_problems(server: ComfyServer, planned: Sequence[PlannedWorkflow]) -> list[str]:
    """Return why workflows cannot run on a server: classes, inputs and choices that it does not have.

    A server that does not answer in time is no problem yet: that is logged, and its node finds out.
    """
    if not planned:
        return []
    workflows = [(plan, filled(plan.workflow, plan.inputs)) for plan in planned]
    classes = {node["class_type"] for _, workflow in workflows for node in workflow.values()}
    try:
        with anyio.fail_after(SECONDS):
            catalog, hints = await _ask(server, {name for name in classes if not is_template(name)})
    except (TimeoutError, OSError, httpx.HTTPError, httpx.InvalidURL, ToolError, ValueError) as error:
        reason = str(error) or type(error).__name__
        logger.warning("the workflows were not compared with the nodes of %s before the run: %s", server.url, reason)
        return []
    return [
        f"node {plan.node!r}: {problem}"
        for plan, workflow in workflows
        for problem in _problems(plan, workflow, catalog, hints)
    ]


async def _ask(server: ComfyServer, classes: Collection[str]) -> tuple[Catalog, Collection[str]]:
    """Return what the server tells of classes, and all that it has where one of them is missing."""
    key = await run_sync(obtained, server.key, server.url)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=SECONDS) as http:
        catalog = await _classes(http, classes)
        missing = [name for name, info in catalog.items() if info is None]
        replaced = await _get(http, "/node_replacements") if missing else None
        for name in missing:
            if name in (replaced or {}):  # the server puts the newer class in its place
                del catalog[name]
        class_names: Collection[str] = ()
        with anyio.move_on_after(HINT_SECONDS):
            class_names = (await _get(http, "/object_info") or {}) if None in catalog.values() else ()
        return catalog, class_names


async def _classes(http: httpx.AsyncClient, names: Collection[str]) -> dict[str, Mapping[str, Any] | None]:
    catalog: dict[str, Mapping[str, Any] | None] = {}
    failures: list[Exception] = []
    slots = anyio.Semaphore(AT_ONCE)

    async def ask(name: str) -> None:
        async with slots:
            try:
                answer = None if failures else await _get(http, f"/object_info/{quote(name, safe='')}")
            except (httpx.HTTPError, ToolError, ValueError) as error:  # raised below, outside a group of errors
                failures.append(error)
                return
        if answer is not None:
            catalog[name] = answer.get(name)

    async with anyio.create_task_group() as group:
        for name in sorted(names):
            group.start_soon(ask, name)
    if failures:
        raise failures[0]
    return catalog


async def _get(http: httpx.AsyncClient, path: str) -> dict[str, Any] | None:
    """Return what the server answers; `None` where it does not know the path.

    Raises:
        ToolError: It answers with something else than an object, or with too much.
    """
    content = bytearray()
    async with http.stream("GET", path) as response:
        if response.status_code == NOT_FOUND:
            return None
        if not response.is_success:
            raise ToolError(f"{path} answered {response.status_code}")
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_BYTES:
                raise ToolError(f"{path} answered with more than {MAX_BYTES:,} bytes")
    data = json.loads(scrubbed_bytes(bytes(content)))
    if not isinstance(data, dict):
        raise ToolError(f"{path} answered with {shorten(data)}, expected an object")
    return cast("dict[str, Any]", data)


def _problems(
    planned: PlannedWorkflow, workflow: Workflow, catalog: Catalog, class_names: Collection[str]
) -> list[str]:
    """Return why a workflow cannot run; what only makes the server leave out an output that nobody names is logged."""
    unknown = [
        f"the server has no node class {name!r}, which node {id!r} of the workflow is{did_you_mean(name, class_names)}"
        for id, node in workflow.items()
        if (name := node["class_type"]) in catalog and catalog[name] is None
    ]
    if unknown:
        return unknown
    broken = _broken_outputs(workflow, catalog)
    if planned.outputs:
        failing = [id for id in broken if id in planned.outputs]
    else:  # a single working output is enough for the server
        failing = list(broken) if len(broken) == len(_outputs(workflow, catalog)) else []
    for id in broken.keys() - failing:
        logger.warning("%s: the server will leave out node %s: %s", planned.node, id, "; ".join(broken[id]))
    return list(dict.fromkeys(problem for id in failing for problem in broken[id]))


def _outputs(workflow: Workflow, catalog: Catalog) -> list[str]:
    """Return the ids of the nodes that the server executes a workflow for, or may."""
    return [id for id, node in workflow.items() if (catalog.get(node["class_type"]) or {}).get("output_node", True)]


def _broken_outputs(workflow: Workflow, catalog: Catalog) -> dict[str, list[str]]:
    """Return the outputs that the server would not execute, each with what is wrong before it."""
    wrong = {id: list(_node_problems(id, node, catalog.get(node["class_type"]))) for id, node in workflow.items()}
    broken: dict[str, list[str]] = {}
    for output in _outputs(workflow, catalog):
        problems = [problem for id in _upstream(workflow, output) for problem in wrong[id]]
        if problems:
            broken[output] = problems
    return broken


def _upstream(workflow: Workflow, id: str) -> list[str]:
    """Return a node and all that it is linked to, directly or not."""
    reached = {id: None}
    stack = [id]
    while stack:
        for value in workflow[stack.pop()]["inputs"].values():
            target = linked(value)
            if target in workflow and target not in reached:
                reached[target] = None
                stack.append(target)
    return list(reached)


def _node_problems(id: str, node: Mapping[str, Any], info: Mapping[str, Any] | None) -> Iterator[str]:
    label = f"node {id!r} ({node['class_type']}) of the workflow"
    required, optional = (_specs(info, kind) for kind in ("required", "optional"))
    if not required and not optional:
        return
    inputs = cast("dict[str, Any]", node["inputs"])
    absent = [name for name in (*required, *optional) if name not in inputs]
    misspelt = _misspelt(inputs, {*required, *optional, *_specs(info, "hidden")}, absent)
    for name, similar in misspelt.items():
        yield f"{label} has no input {name!r}; did you mean {similar!r}?"
    for name in absent:
        if name in required and name not in misspelt.values() and not _is_dynamic(required[name]):
            yield f"{label} lacks the input {name!r}"
    for name, value in inputs.items():
        yield from _choice_problem(label, name, value, required.get(name) or optional.get(name))


def _specs(info: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    """Return how a class describes its inputs: `{"seed": ["INT", {...}], "sampler_name": [["euler", ...]]}`."""
    inputs: Any = (info or {}).get("input")
    specs = cast("dict[str, Any]", inputs).get(kind) if isinstance(inputs, dict) else None
    return cast("dict[str, Any]", specs) if isinstance(specs, dict) else {}


def _misspelt(names: Collection[str], declared: Collection[str], absent: Collection[str]) -> dict[str, str]:
    """Return names that are similar to a missing one.

    Others that a class does not know are let be: editors add some, and some classes take any.
    """
    intended: dict[str, str] = {}
    for name in names:
        if name in declared or name.partition(".")[0] in declared:
            continue
        candidates = [candidate for candidate in absent if _NUMBER.sub("", candidate) != _NUMBER.sub("", name)]
        close = get_close_matches(name, candidates, n=1)
        if close:
            intended[name] = close[0]
    return intended


def _is_dynamic(spec: object) -> bool:
    """Tell whether an input stands for others whose names depend on values."""
    parts = cast("list[Any]", spec) if isinstance(spec, list) else []
    return bool(parts) and str(parts[0]).startswith("COMFY_")


def _choice_problem(label: str, name: str, value: object, spec: object) -> Iterator[str]:
    choices = _choices(spec)
    if not choices or not isinstance(value, str | int | float) or is_template(value) or value in choices:
        return
    hint = did_you_mean(str(value), [str(choice) for choice in choices])
    if not hint:
        unlisted = f" and {len(choices) - MAX_NAMED:,} more" if len(choices) > MAX_NAMED else ""
        hint = f"; there are {', '.join(shorten(choice) for choice in choices[:MAX_NAMED])}{unlisted}"
    yield f"{label}: the server has no {name} {value!r}{hint}"


def _choices(spec: object) -> list[Any]:
    """Return the values among which an input chooses; none where they are not known here."""
    parts = cast("list[Any]", spec) if isinstance(spec, list) else []
    options = cast("dict[str, Any]", parts[1]) if len(parts) > 1 and isinstance(parts[1], dict) else {}
    if any(options.get(word) for word in _ELSEWHERE):
        return []
    kind = parts[0] if parts else None
    choices = options.get("options") if kind == "COMBO" else kind
    return cast("list[Any]", choices) if isinstance(choices, list) else []
