"""`vibe-prefect show`: print a plan without running it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from vibe_prefect.cli.display.console import Screen, err, out, write
from vibe_prefect.cli.display.lines import columns, counted, one_line
from vibe_prefect.cli.display.tree import guides
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.policies import LOCAL
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import DEFAULT_ITEM, GraphNode
from vibe_prefect.plan.inputs.declared import type_words

MAX_NAMED = 6
"""Number of dependencies or tools that a line names before it only counts."""


def show(path: str, *, as_mermaid: bool, as_svg: bool, output: Path | None) -> int:
    """Print a plan as a tree or as a drawing."""
    if as_mermaid and as_svg:
        raise UsageError("--mermaid and --svg are two drawings; ask for one of them")
    if output is not None and not (as_mermaid or as_svg):
        raise UsageError("--output needs --mermaid or --svg: the tree is for the terminal")
    compiled = ready(path, simulate=True).compiled
    if as_mermaid or as_svg:
        from vibe_prefect.drawing.plan_picture import mermaid, svg

        _deliver(mermaid(compiled.graph) if as_mermaid else svg(compiled.graph, title=compiled.plan.id), output)
    else:
        print_tree(out(), compiled)
    return ExitCode.COMPLETED


def _deliver(drawing: str, output: Path | None) -> None:
    if output is None:
        write(drawing)
        return
    try:
        output.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
    err().say(f"wrote {output}")


def print_tree(screen: Screen, compiled: CompiledPlan) -> None:
    """Print a plan as a tree, with what each node waits for."""
    vibe = one_line(compiled.plan.source_vibe.description)
    screen.say(Text.assemble((compiled.plan.id, "bold"), f"  {vibe}"))
    _print_inputs(screen, compiled.plan.inputs)
    graph = compiled.graph
    group_of = {id: index for index, group in enumerate(graph.groups, 1) for id in group}
    rows = [_row(graph.nodes[id], compiled.nodes[id], guide, group_of[id]) for id, guide in guides(graph)]
    heading = [Text(word, "dim") for word in ("node", "type, tool", "group", "waits for", "")]
    heading[2].justify = "right"
    for line in columns([heading, *rows], screen.limit) if rows else ():
        screen.say(line)
    screen.say(f"{counted(len(graph.nodes), 'node')} in {counted(len(graph.groups), 'group')}", "dim")


def _print_inputs(screen: Screen, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        [
            Text(f"inputs.{name}", "bold"),
            Text(one_line(type_words(schema)), "cyan"),
            Text(one_line(f"default {json.dumps(schema['default'], ensure_ascii=False)}"))
            if "default" in schema
            else Text("required", "yellow"),
            Text(one_line(str(schema.get("title") or schema.get("description") or "")), "dim"),
        ]
        for name, schema in inputs.items()
    ]
    for line in columns(rows, screen.limit) if rows else ():
        screen.say(line)


def _row(graph_node: GraphNode, compiled: CompiledNode, guide: str, group: int) -> list[Text]:
    named = graph_node.dependencies[:MAX_NAMED]
    waits = ", ".join(f"{id} (optional)" if id in graph_node.optional else id for id in named)
    unnamed = len(graph_node.dependencies) - MAX_NAMED
    node = graph_node.node
    return [
        Text.assemble((guide, "dim"), (graph_node.node.id, "bold")),
        Text(_named_work(graph_node.node), "cyan"),
        Text(str(group), justify="right"),
        Text(waits + (f" and {unnamed} more" if unnamed > 0 else ""), "dim"),
        Text(one_line("; ".join(_choices(node, compiled.policy.run_on))), "yellow"),
    ]


def _choices(node: WorkflowNode, run_on: str) -> Iterator[str]:
    """Yield what decides where a node runs, how often and whether, and which result counts."""
    if run_on != LOCAL:
        yield f"on {run_on}"
    if node.for_each is not None:
        yield f"for each {node.item_name or DEFAULT_ITEM} in {node.for_each}"
    if node.when is not None:
        yield f"when {node.when}"
    if node.best_of is not None:
        yield f"best of {node.best_of.n} by {node.best_of.scorer}"
    if node.on_error is not None:
        yield f"on error {node.on_error.use or 'a value'}"


def _named_work(node: WorkflowNode) -> str:
    """Return a node's type and the tool that it names, whether that exists or not."""
    tool = node.parameters.get("tool")
    return f"{node.type}, {one_line(tool)}" if isinstance(tool, str) else node.type.value
