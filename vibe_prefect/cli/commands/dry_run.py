"""`vibe-prefect run --dry-run`: forecast of a run."""

from __future__ import annotations

import asyncio

from rich.text import Text

from vibe_prefect.cli.commands.run import RunRequest, check_folders, find_server, print_header, ready_plan
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.document import RunReference
from vibe_prefect.cli.display.documents import print_document
from vibe_prefect.cli.display.lines import columns, counted, one_line, seconds, token_cost
from vibe_prefect.cli.display.plan_documents import (
    DryRunDocument,
    EarlierCosts,
    KeyPlace,
    PlannedCosts,
    PlannedNode,
    PlannedPath,
    PlannedSummary,
    PlannedTool,
)
from vibe_prefect.cli.display.tree import guides, work
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.reading.lookup import look_up_if_answered
from vibe_prefect.core.budget import OR_TOKENS
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
    plan = ready_plan(request)
    screen = err() if request.as_json else out()
    resumes = request.options.resume_from is not None
    server = find_server(screen, quiet=request.quiet) if resumes else None
    question = forecast(plan, request.options, look_up=look_up_if_answered)
    dry_run = asyncio.run(question) if server is None else ask(server, question)
    if request.as_json:
        print_document(forecast_document(dry_run))
        return ExitCode.COMPLETED
    if not request.quiet:
        print_header(screen, dry_run.compiled, simulated=dry_run.options.simulate)
    print_forecast(screen, dry_run)
    return ExitCode.COMPLETED


def print_forecast(screen: Screen, dry_run: RunForecast) -> None:
    """Print the forecast of a run: its nodes, their cost, and what it needs."""
    if dry_run.earlier is not None:
        screen.say(f"resumes {one_line(dry_run.earlier.name)}")
    for line in _table(dry_run, screen.limit):
        screen.say(line)
    screen.say(Text.assemble(("dry run", "bold"), f": {dry_run.verdict}; nothing was executed"))
    print_facts(screen, dry_run)


def print_facts(screen: Screen, dry_run: RunForecast) -> None:
    """Print what is known of a run before it begins: lists, durations, tools, keys, obstacles and costs."""
    for line in [*_list_facts(dry_run), *_facts(dry_run.forecast), *_key_facts(dry_run), *_cost_facts(dry_run)]:
        screen.console.print(line, soft_wrap=not screen.is_terminal)


def _table(dry_run: RunForecast, width: int | None) -> list[Text]:
    nodes = dry_run.forecast.nodes
    group_of = {id: index for index, group in enumerate(dry_run.forecast.groups, 1) for id in group}
    complete = len(nodes) <= MAX_TREE
    listed = [(id, guide if complete else "") for id, guide in guides(dry_run.compiled.graph)]
    rows = [
        _row(dry_run.compiled, nodes[id], guide, group_of[id])
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


def _facts(plan_forecast: Forecast) -> list[Text]:
    """Return lines about the nodes that run: their durations, and their tools."""
    if not plan_forecast.count(Action.RUN):
        return []
    path = plan_forecast.critical_path
    lines_by_label = [
        ("work", _estimated(plan_forecast.seconds, plan_forecast.count(Action.RUN), plan_forecast.unestimated)),
        ("critical path", _estimated(path.seconds, len(path.ids), path.unestimated)),
    ]
    lines = [_fact(*fact) for fact in lines_by_label]
    lines.append(Text(f"  {_steps(plan_forecast)}"))
    tools = ", ".join(f"{tool.name} {tool.version} ({counted(tool.nodes, 'node')})" for tool in plan_forecast.tools)
    lines.append(_fact("tools", one_line(tools) or "none"))
    return lines


def _list_facts(dry_run: RunForecast) -> list[Text]:
    return [_fact("list", one_line(fact)) for fact in dry_run.list_facts]


def _cost_facts(dry_run: RunForecast) -> list[Text]:
    """Return lines about the cost of models and paid tools, and a warning where a budget may not be enough."""
    costs = dry_run.costs
    if costs is None:
        return []
    calls = f"{counted(costs.calls, 'call')} of {', '.join(costs.tools)}"
    lines = [_fact("costs", f"{one_line(calls)}, at most {token_cost(costs.most.tokens, costs.most.usd)}")]
    lines.append(Text(f"  {_history(costs, dry_run)}"))
    if dry_run.options.budget_usd is not None and costs.most.usd is None:
        price_it = "; ".join(costs.price_it)
        lines.append(
            Text(f"  a budget in dollars needs prices: the run would stop before such a call; {price_it}{OR_TOKENS}")
        )
    tight_usd = (
        dry_run.options.budget_usd is not None
        and costs.most.usd is not None
        and costs.most.usd > dry_run.options.budget_usd
    )
    tight_tokens = dry_run.options.max_tokens is not None and costs.most.tokens > dry_run.options.max_tokens
    if tight_usd or tight_tokens:
        lines.append(Text("  the budget may not be enough; the run would stop before the call that could exceed it"))
    return lines


def _history(costs: CostForecast, dry_run: RunForecast) -> str:
    """Return the costs of earlier runs in words, or the reason why none are known."""
    if costs.known:
        calls = f"{costs.known:,} of them" if costs.known < costs.calls else "they"
        names = one_line(", ".join(dry_run.lookup.runs))
        subject = "the earlier run" if dry_run.earlier is not None else f"earlier runs ({names})"
        return f"in {subject} {calls} took {token_cost(costs.likely.tokens, costs.likely.usd)}"
    if dry_run.lookup.unanswered is not None:
        return f"estimated without earlier runs: {one_line(dry_run.lookup.unanswered)}"
    return "estimated: no earlier run has a record of these nodes with these models"


def _key_facts(dry_run: RunForecast) -> list[Text]:
    """Return lines about the sources of the keys that the run needs, and whether they are there; never the keys."""
    keys = [_key(source, tools, dry_run) for source, tools in dry_run.keys.items()]
    lacks = [f"{', '.join(tools)}: {lack}" for lack, tools in dry_run.lacks.items()]
    lines_by_label = {"keys": keys, "missing": lacks}
    return [_fact(label, one_line("; ".join(lines))) for label, lines in lines_by_label.items() if lines]


def _key(source: KeySource, tools: tuple[str, ...], dry_run: RunForecast) -> str:
    match dry_run.is_set(source):
        case True:
            word = "set"
        case False:
            word = f"not set; {source.lack or source.remedy}" if source.lack or source.needed else UNNEEDED
        case None:
            word = f"not looked up, since {dry_run.lookup.unanswered}"
    return f"{source.place} for {', '.join(tools)}: {word}"


def _fact(label: str, text: str) -> Text:
    return Text.assemble((f"{label}  ", "dim"), text)


def _estimated(value: float, nodes: int, unestimated: int) -> str:
    if unestimated == nodes:
        return f"{counted(nodes, 'node')}, without estimates"
    estimate = f"{counted(nodes, 'node')}, about {seconds(value)}"
    if not unestimated:
        return estimate
    return f"{estimate} and the time of {unestimated:,} without an estimate"


def _steps(plan_forecast: Forecast) -> str:
    ids = plan_forecast.critical_path.ids
    unnamed = len(ids) - MAX_STEPS
    nodes = [plan_forecast.nodes[id] for id in ids[:MAX_STEPS]]
    steps = [node.id if node.estimate is None else f"{node.id} {seconds(node.estimate)}" for node in nodes]
    return " > ".join([*steps, f"{unnamed:,} more"] if unnamed > 0 else steps)


def forecast_document(dry_run: RunForecast) -> DryRunDocument:
    """Return the forecast of a run as a JSON document."""
    plan_forecast, earlier = dry_run.forecast, dry_run.earlier
    path = plan_forecast.critical_path
    return DryRunDocument(
        plan_id=dry_run.compiled.plan.id,
        simulated=dry_run.options.simulate,
        resume_from=None if earlier is None else RunReference(run_name=earlier.name, run_id=str(earlier.id)),
        summary=PlannedSummary(
            total_nodes=len(plan_forecast.nodes),
            run=plan_forecast.count(Action.RUN),
            reuse=plan_forecast.count(Action.REUSE),
            skip=plan_forecast.count(Action.SKIP),
            estimated_seconds=plan_forecast.seconds,
            without_estimate=plan_forecast.unestimated,
        ),
        nodes={id: _planned_node(dry_run.compiled, node) for id, node in plan_forecast.nodes.items()},
        groups=[list(group) for group in plan_forecast.groups],
        critical_path=PlannedPath(
            nodes=list(path.ids), estimated_seconds=path.seconds, without_estimate=path.unestimated
        ),
        costs=_planned_costs(dry_run),
        unknown_lists={id: dry_run.lookup.list_sizes.get(id) for id in dry_run.unknown_lists},
        tools={
            tool.name: PlannedTool(
                version=tool.version,
                nodes=tool.nodes,
                keys=_key_places(dry_run, tool.name),
                lack=next((lack for lack, tools in dry_run.lacks.items() if tool.name in tools), None),
            )
            for tool in plan_forecast.tools
        },
        not_looked_up=dry_run.lookup.unanswered,
    )


def _key_places(dry_run: RunForecast, tool: str) -> list[KeyPlace]:
    return [
        KeyPlace(place=source.place, set=dry_run.is_set(source), needed=source.needed)
        for source, tools in dry_run.keys.items()
        if tool in tools
    ]


def _planned_costs(dry_run: RunForecast) -> PlannedCosts | None:
    costs = dry_run.costs
    if costs is None:
        return None
    earlier = EarlierCosts(
        calls=costs.known,
        tokens=costs.likely.tokens,
        cost_usd=costs.likely.usd,
        run_names=list(dry_run.lookup.runs),
    )
    return PlannedCosts(
        calls=costs.calls,
        tools=list(costs.tools),
        most_tokens=costs.most.tokens,
        most_cost_usd=costs.most.usd,
        earlier_runs=earlier if costs.known else None,
    )


def _planned_node(compiled: CompiledPlan, node: NodeForecast) -> PlannedNode:
    compiled_node = compiled.nodes[node.id]
    return PlannedNode(
        type=compiled_node.node.type.value,
        tool=compiled_node.tool,
        action=node.action.value,
        reason=node.reason,
        estimated_seconds=node.estimate,
        key=compiled_node.key,
    )
