"""`vibe-prefect validate`: check a plan without running it. On a pipe it does without rich."""

from __future__ import annotations

from collections import Counter

from vibe_prefect.cli.display.console import out
from vibe_prefect.cli.display.lines import counted, one_line, size
from vibe_prefect.cli.exits import ExitCode, StartError
from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.graph import EdgeKind
from vibe_prefect.plan.reading.size import SMALL_BYTES, inline_limit, slim_data, weight


def validate(path: str, inputs: InputArguments, *, simulate: bool, as_json: bool = False) -> int:
    """Check a plan, and the inputs of a run where any are given, and print its contents in numbers."""
    if as_json:
        return _validate_as_json(path, inputs, simulate=simulate)
    compiled = ready(path, simulate=simulate, inputs=inputs or None).compiled
    out().say(one_line(f"{path}: valid. Plan {compiled.plan.id!r}: {_facts(compiled)}"))
    weighs = weight(slim_data(compiled.plan))
    if weighs > SMALL_BYTES:
        out().say(_weight(weighs))
    return ExitCode.COMPLETED


def _validate_as_json(path: str, inputs: InputArguments, *, simulate: bool) -> int:
    from vibe_prefect.cli.display.documents import ProblemsDocument, plan_problems, print_document

    with plan_problems():
        ready(path, simulate=simulate, inputs=inputs or None)
    print_document(ProblemsDocument(plan=path, problems=[]))
    return ExitCode.COMPLETED


def _weight(weighs: int) -> str:
    """Describe the size of a large plan, and where it is stored when the parameters of a run cannot hold it."""
    text = f"weighs {size(weighs)} among the parameters of a run"
    limit = _server_limit()
    inline_bytes = inline_limit(limit)
    server_note = "" if limit is None else f" (the server takes {size(limit)} in all)"
    if weighs <= inline_bytes:
        return f"{text}, where up to {size(inline_bytes)} may stand{server_note}"
    return f"{text}, where up to {size(inline_bytes)} may stand{server_note}: it is kept as a file beside the records"


def _server_limit() -> int | None:
    """Ask the configured server for its limit in bytes; `None` where none is configured, or it does not answer."""
    from vibe_prefect.cli.process.environment import ask, configured_api_url
    from vibe_prefect.cli.process.standing import standing_server

    if configured_api_url() is None:
        return None
    try:
        return ask(standing_server(), _asked_limit())
    except StartError:
        return None


async def _asked_limit() -> int | None:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.inputs.plan_store import parameter_limit

    async with get_client() as client:
        return await parameter_limit(client)


def _facts(compiled: CompiledPlan) -> str:
    graph = compiled.graph
    depth = max((graph_node.depth for graph_node in graph.nodes.values()), default=0)
    kinds = Counter(edge.kind for edge in graph.edges)
    by_kind = ", ".join(f"{kinds[kind]:,} {kind}" for kind in EdgeKind if kinds[kind])
    edges = counted(kinds.total(), "edge") + (f" ({by_kind})" if by_kind else "")
    tools = ", ".join(compiled.tools) or "none"
    inputs = f"; inputs: {', '.join(compiled.plan.inputs)}" if compiled.plan.inputs else ""
    return (
        f"{counted(len(graph.nodes), 'node')}, {counted(len(graph.groups), 'group')}, "
        f"depth {depth}, {edges}; tools: {tools}{inputs}"
    )
