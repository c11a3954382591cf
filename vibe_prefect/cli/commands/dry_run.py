"""`vibe-prefect run --dry-run`: forecast of a run."""

from __future__ import annotations

import asyncio

from rich.text import Text

from vibe_prefect.cli.commands.run import RunRequest, check_folders, find_server, print_header
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.documents import (
    DryRunDocument,
    EarlierCosts,
    KeyPlace,
    PlannedCosts,
    PlannedNode,
    PlannedPath,
    PlannedSummary,
    PlannedTool,
    RunReference,
    print_document,
)
from vibe_prefect.cli.display.lines import columns, counted, one_line, seconds
from vibe_prefect.cli.display.tree import guides, work
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.reading.lookup import look_up_if_answered
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.core.budget import OR_TOKENS, Spending
from vibe_prefect.operations import RunForecast, forecast
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.costs import CostForecast
from vibe_prefect.plan.node_forecast import Action, Forecast, NodeForecast
from vibe_prefect.tools.secrecy.key_sources import KeySource

MAX_TREE = 60
"""Number of nodes up to which reused nodes are listed, too."""

MIN_WIDTH_FOR_WORK = 100
"""Columns of a terminal from which on each node's work is shown; the reason why a node runs matters more."""

MAX_STEPS = 20
"""Number of nodes of the critical path that are named."""

UNNEEDED = "not set, and may not be needed"

_STYLES = {Action.RUN: "yellow", Action.REUSE: "green", Action.SKIP: "dim"}


def forecast_run(request: RunRequest) -> int:
    """Print the forecast of a run; returns the exit code.

    A server is needed to resume another run. The costs of earlier runs, and the existence of secrets, are known only
    where a server answers anyway.
    """
    check_folders(request.options)
    plan = ready(request.plan, simulate=request.options.simulate)
    screen = err() if request.as_json else out()
    resumes = request.options.resume_from is not None
    server = find_server(screen, quiet=request.quiet) if resumes else None
    question = forecast(plan, request.options, look_up=look_up_if_answered)
    look = asyncio.run(question) if server is None else ask(server, question)
    if request.as_json:
        print_document(_document(look))
        return ExitCode.COMPLETED
    if not request.quiet:
        print_header(screen, look.compiled, simulated=look.options.simulate)
    _print(screen, look)
    return ExitCode.COMPLETED


def _print(screen: Screen, look: RunForecast) -> None:
    if look.earlier is not None:
        screen.say(f"resumes {one_line(look.earlier.name)}")
    for line in _table(look, screen.limit):
        screen.say(line)
    screen.say(Text.assemble(("dry run", "bold"), f": {look.verdict}; nothing was executed"))
    for line in [*_facts(look.forecast), *_key_facts(look), *_cost_facts(look)]:
        screen.print(line, soft_wrap=not screen.is_terminal)


def _table(look: RunForecast, width: int | None) -> list[Text]:
    nodes = look.forecast.nodes
    group_of = {id: index for index, group in enumerate(look.forecast.groups, 1) for id in group}
    complete = len(nodes) <= MAX_TREE
    listed = [(id, guide if complete else "") for id, guide in guides(look.compiled.graph)]
    rows = [
        _row(look.compiled, nodes[id], guide, group_of[id])
        for id, guide in listed
        if complete or nodes[id].action is not Action.REUSE
    ]
    if not rows:
        return []
    heading = [Text(word, "dim") for word in ("", "node", "type, tool", "group", "why")]
    heading[3].justify = "right"
    table = [heading, *rows]
    if width is not None and width < MIN_WIDTH_FOR_WORK:
        table = [[*row[:2], *row[3:]] for row in table]
    return columns(table, width)


def _row(compiled: CompiledPlan, node: NodeForecast, guide: str, group: int) -> list[Text]:
    return [
        Text(node.action.value, _STYLES[node.action]),
        Text.assemble((guide, "dim"), (node.id, "bold")),
        Text(one_line(work(compiled.nodes[node.id])), "cyan"),
        Text(str(group), justify="right"),
        Text(one_line(node.reason)),
    ]


def _facts(outlook: Forecast) -> list[Text]:
    """Return lines about the nodes that run: their durations, and their tools."""
    if not outlook.count(Action.RUN):
        return []
    path = outlook.critical_path
    lines_by_label = [
        ("work", _estimated(outlook.seconds, outlook.count(Action.RUN), outlook.unestimated)),
        ("critical path", _estimated(path.seconds, len(path.ids), path.unestimated)),
    ]
    lines = [_fact(*fact) for fact in lines_by_label]
    lines.append(Text(f"  {_steps(outlook)}"))
    tools = ", ".join(f"{tool.name} {tool.version} ({counted(tool.nodes, 'node')})" for tool in outlook.tools)
    lines.append(_fact("tools", one_line(tools) or "none"))
    return lines


def _cost_facts(look: RunForecast) -> list[Text]:
    """Return lines about the cost of models and paid tools, and a warning where a budget may not be enough."""
    costs = look.costs
    if costs is None:
        return []
    calls = f"{counted(costs.calls, 'call')} of {', '.join(costs.tools)}"
    lines = [_fact("costs", f"{one_line(calls)}, at most {_spending(costs.most)}")]
    lines.append(Text(f"  {_history(costs, look)}"))
    if look.options.budget_usd is not None and costs.most.usd is None:
        price_it = "; ".join(costs.price_it)
        lines.append(
            Text(f"  a budget in dollars needs prices: the run would stop before such a call; {price_it}{OR_TOKENS}")
        )
    tight_usd = (
        look.options.budget_usd is not None and costs.most.usd is not None and costs.most.usd > look.options.budget_usd
    )
    tight_tokens = look.options.max_tokens is not None and costs.most.tokens > look.options.max_tokens
    if tight_usd or tight_tokens:
        lines.append(Text("  the budget may not be enough; the run would stop before the call that could exceed it"))
    return lines


def _history(costs: CostForecast, look: RunForecast) -> str:
    """Return the costs of earlier runs in words, or the reason why none are known."""
    if costs.known:
        calls = f"{costs.known:,} of them" if costs.known < costs.calls else "they"
        names = one_line(", ".join(look.lookup.runs))
        which = "the earlier run" if look.earlier is not None else f"earlier runs ({names})"
        return f"in {which} {calls} took {_spending(costs.likely)}"
    if look.lookup.unanswered is not None:
        return f"estimated without earlier runs: {one_line(look.lookup.unanswered)}"
    return "estimated: no earlier run has a record of these nodes with these models"


def _key_facts(look: RunForecast) -> list[Text]:
    """Return lines about the sources of the keys that the run needs, and whether they are there; never the keys."""
    keys = [_key(source, tools, look) for source, tools in look.keys.items()]
    lacks = [f"{', '.join(tools)}: {lack}" for lack, tools in look.lacks.items()]
    facts = {"keys": keys, "missing": lacks}
    return [_fact(label, one_line("; ".join(lines))) for label, lines in facts.items() if lines]


def _key(source: KeySource, tools: tuple[str, ...], look: RunForecast) -> str:
    match look.is_set(source):
        case True:
            word = "set"
        case False:
            word = f"not set; {source.lack or source.remedy}" if source.lack or source.needed else UNNEEDED
        case None:
            word = f"not looked up, since {look.lookup.unanswered}"
    return f"{source.place} for {', '.join(tools)}: {word}"


def _spending(spending: Spending) -> str:
    usd = "of unknown price" if spending.usd is None else f"{spending.usd:.4f} USD"
    return f"{spending.tokens:,} tokens, {usd}"


def _fact(label: str, text: str) -> Text:
    return Text.assemble((f"{label}  ", "dim"), text)


def _estimated(value: float, nodes: int, unestimated: int) -> str:
    if unestimated == nodes:
        return f"{counted(nodes, 'node')}, without estimates"
    estimate = f"{counted(nodes, 'node')}, about {seconds(value)}"
    if not unestimated:
        return estimate
    return f"{estimate} and the time of {unestimated:,} without an estimate"


def _steps(outlook: Forecast) -> str:
    ids = outlook.critical_path.ids
    unnamed = len(ids) - MAX_STEPS
    nodes = [outlook.nodes[id] for id in ids[:MAX_STEPS]]
    steps = [node.id if node.estimate is None else f"{node.id} {seconds(node.estimate)}" for node in nodes]
    return " > ".join([*steps, f"{unnamed:,} more"] if unnamed > 0 else steps)


def _document(look: RunForecast) -> DryRunDocument:
    outlook, earlier = look.forecast, look.earlier
    path = outlook.critical_path
    return DryRunDocument(
        plan_id=look.compiled.plan.id,
        simulated=look.options.simulate,
        resume_from=None if earlier is None else RunReference(run_name=earlier.name, run_id=str(earlier.id)),
        summary=PlannedSummary(
            total_nodes=len(outlook.nodes),
            run=outlook.count(Action.RUN),
            reuse=outlook.count(Action.REUSE),
            skip=outlook.count(Action.SKIP),
            estimated_seconds=outlook.seconds,
            without_estimate=outlook.unestimated,
        ),
        nodes={id: _planned_node(look.compiled, node) for id, node in outlook.nodes.items()},
        groups=[list(group) for group in outlook.groups],
        critical_path=PlannedPath(
            nodes=list(path.ids), estimated_seconds=path.seconds, without_estimate=path.unestimated
        ),
        costs=_planned_costs(look),
        tools={
            tool.name: PlannedTool(
                version=tool.version,
                nodes=tool.nodes,
                keys=_key_places(look, tool.name),
                lack=next((lack for lack, tools in look.lacks.items() if tool.name in tools), None),
            )
            for tool in outlook.tools
        },
        not_looked_up=look.lookup.unanswered,
    )


def _key_places(look: RunForecast, tool: str) -> list[KeyPlace]:
    return [
        KeyPlace(place=source.place, set=look.is_set(source), needed=source.needed)
        for source, tools in look.keys.items()
        if tool in tools
    ]


def _planned_costs(look: RunForecast) -> PlannedCosts | None:
    costs = look.costs
    if costs is None:
        return None
    earlier = EarlierCosts(
        calls=costs.known,
        tokens=costs.likely.tokens,
        cost_usd=costs.likely.usd,
        run_names=list(look.lookup.runs),
    )
    return PlannedCosts(
        calls=costs.calls,
        tools=list(costs.tools),
        most_tokens=costs.most.tokens,
        most_cost_usd=costs.most.usd,
        earlier_runs=earlier if costs.known else None,
    )


def _planned_node(compiled: CompiledPlan, node: NodeForecast) -> PlannedNode:
    own = compiled.nodes[node.id]
    return PlannedNode(
        type=own.node.type.value,
        tool=own.tool,
        action=node.action.value,
        reason=node.reason,
        estimated_seconds=node.estimate,
        key=own.key,
    )
