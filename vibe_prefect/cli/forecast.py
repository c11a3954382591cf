"""`vibe-prefect run --dry-run`: what a run would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from vibe_prefect.budget import Spending
from vibe_prefect.cli.console import Screen, err, out, write
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.plans import ReadyPlan, mode, ready
from vibe_prefect.cli.run import RunRequest, check_folders, find_server, print_header
from vibe_prefect.cli.text import columns, counted, one_line, seconds
from vibe_prefect.cli.tree import guides, work
from vibe_prefect.compiler import CompiledPlan, compile_plan
from vibe_prefect.costs import CostForecast, cost_forecast
from vibe_prefect.errors import PlanError
from vibe_prefect.forecast import Action, Forecast, NodeForecast, forecast

if TYPE_CHECKING:
    from vibe_prefect.engine.outlook import EarlierRun

MAX_TREE = 60
"""Nodes up to which those that are reused are listed, too."""

MIN_WIDTH_FOR_WORK = 100
"""Columns of a terminal from which on each node's work is shown: why it runs is what one asked for."""

MAX_STEPS = 20
"""Nodes of the critical path that are named."""

_STYLES = {Action.RUN: "yellow", Action.REUSE: "green", Action.SKIP: "dim"}


@dataclass(frozen=True)
class DryRun:
    """A look at a run that has not begun."""

    compiled: CompiledPlan
    outlook: Forecast
    earlier: EarlierRun | None
    simulated: bool
    costs: CostForecast | None = None
    budget_usd: float | None = None
    max_tokens: int | None = None


def forecast_run(request: RunRequest) -> int:
    """Tell what a run would do, without a server unless it goes on from another run; returns the exit code."""
    check_folders(request)
    plan = ready(request.plan, mode(simulate=request.simulate))
    screen = err() if request.as_json else out()
    look = _look(request, plan, screen)
    if request.as_json:
        write(json.dumps(_as_data(look), indent=2, ensure_ascii=False) + "\n")
        return ExitCode.COMPLETED
    if not request.quiet:
        print_header(screen, look.compiled, simulated=look.simulated)
    _print(screen, look)
    return ExitCode.COMPLETED


def _look(request: RunRequest, plan: ReadyPlan, screen: Screen) -> DryRun:
    compiled = plan.compiled
    if request.resume_from is None:
        outlook = forecast(compiled, selected=request.choice.selected(compiled))
        return _priced(request, plan, DryRun(compiled, outlook, None, request.simulate))
    server = find_server(screen, quiet=request.quiet)
    earlier, kept, paid = ask(server, _records(request.resume_from, plan))
    outlook = forecast(
        compiled,
        kept,
        earlier=_compiled(earlier, plan),
        run=earlier.name,
        selected=request.choice.selected(compiled),
        refreshed=request.choice.refreshed(compiled),
    )
    return _priced(request, plan, DryRun(compiled, outlook, earlier, request.simulate), paid)


def _priced(request: RunRequest, plan: ReadyPlan, look: DryRun, paid: Mapping[str, Spending] | None = None) -> DryRun:
    costs = cost_forecast(plan.compiled, look.outlook.ids(Action.RUN), plan.tools, paid)
    return replace(look, costs=costs, budget_usd=request.budget_usd, max_tokens=request.max_tokens)


async def _records(reference: str, plan: ReadyPlan) -> tuple[EarlierRun, frozenset[str], dict[str, Spending]]:
    from vibe_prefect.engine.budget import costs_before
    from vibe_prefect.engine.outlook import earlier_run, kept_nodes
    from vibe_prefect.engine.storage import open_store

    earlier = await earlier_run(reference)
    before = _compiled(earlier, plan)
    paid = {} if before is None else await costs_before(before, await open_store(None), earlier.lineage)
    return earlier, await kept_nodes(plan.compiled, earlier.lineage), paid


def _compiled(earlier: EarlierRun, plan: ReadyPlan) -> CompiledPlan | None:
    """Return the earlier run's plan as it would run today; `None` where it could not any more."""
    if earlier.plan is None:
        return None
    try:
        return compile_plan(earlier.plan, tools=plan.tools, simulate=mode(simulate=earlier.simulated))
    except PlanError:
        return None


def _print(screen: Screen, look: DryRun) -> None:
    if look.earlier is not None:
        screen.say(f"goes on from {one_line(look.earlier.name)}")
    for line in _table(look, screen.limit):
        screen.say(line)
    screen.say(_verdict(look.outlook))
    for line in [*_facts(look.outlook), *_cost_facts(look)]:
        screen.print(line, soft_wrap=not screen.is_terminal)


def _table(look: DryRun, width: int | None) -> list[Text]:
    nodes = look.outlook.nodes
    group_of = {id: index for index, group in enumerate(look.outlook.groups, 1) for id in group}
    whole = len(nodes) <= MAX_TREE
    listed = [(id, guide if whole else "") for id, guide in guides(look.compiled.graph)]
    rows = [
        _row(look.compiled, nodes[id], guide, group_of[id])
        for id, guide in listed
        if whole or nodes[id].action is not Action.REUSE
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


def _verdict(outlook: Forecast) -> Text:
    runs, reused, skipped = (outlook.count(action) for action in (Action.RUN, Action.REUSE, Action.SKIP))
    parts = [f"{runs:,} of {counted(len(outlook.nodes), 'node')} would run"]
    parts += [f"{reused:,} reused"] if reused else []
    parts += [f"{skipped:,} skipped"] if skipped else []
    return Text.assemble(("dry run", "bold"), f": {', '.join(parts)}; nothing was executed")


def _facts(outlook: Forecast) -> list[Text]:
    """Return what is known of the nodes that run: how long they take, and with which tools."""
    if not outlook.count(Action.RUN):
        return []
    path = outlook.critical_path
    facts = [
        ("work", _estimated(outlook.seconds, outlook.count(Action.RUN), outlook.unestimated)),
        ("critical path", _estimated(path.seconds, len(path.ids), path.unestimated)),
    ]
    lines = [_fact(*fact) for fact in facts]
    lines.append(Text(f"  {_steps(outlook)}"))
    tools = ", ".join(f"{tool.name} {tool.version} ({counted(tool.nodes, 'node')})" for tool in outlook.tools)
    lines.append(_fact("tools", one_line(tools) or "none"))
    return lines


def _cost_facts(look: DryRun) -> list[Text]:
    """Return what the models would cost, and whether a budget may not be enough."""
    costs = look.costs
    if costs is None:
        return []
    lines = [_fact("models", f"{counted(costs.calls, 'call')}, at most {_spending(costs.most)}")]
    if costs.known:
        calls = f"{costs.known:,} of them" if costs.known < costs.calls else "they"
        lines.append(Text(f"  in the earlier run {calls} took {_spending(costs.likely)}"))
    tight_usd = look.budget_usd is not None and (costs.most.usd is None or costs.most.usd > look.budget_usd)
    tight_tokens = look.max_tokens is not None and costs.most.tokens > look.max_tokens
    if tight_usd or tight_tokens:
        lines.append(Text("  the budget may not be enough; the run would stop before the call that could exceed it"))
    return lines


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
    more = len(ids) - MAX_STEPS
    steps = [_step(outlook.nodes[id]) for id in ids[:MAX_STEPS]]
    return " > ".join([*steps, f"{more:,} more"] if more > 0 else steps)


def _step(node: NodeForecast) -> str:
    return node.id if node.estimate is None else f"{node.id} {seconds(node.estimate)}"


def _as_data(look: DryRun) -> dict[str, Any]:
    outlook, earlier = look.outlook, look.earlier
    path = outlook.critical_path
    return {
        "plan_id": look.compiled.plan.id,
        "simulated": look.simulated,
        "resume_from": None if earlier is None else {"run_name": earlier.name, "flow_run_id": earlier.id},
        "summary": {
            "total_nodes": len(outlook.nodes),
            **{action.value: outlook.count(action) for action in Action},
            "estimated_seconds": outlook.seconds,
            "without_estimate": outlook.unestimated,
        },
        "nodes": {id: _node_data(look.compiled, node) for id, node in outlook.nodes.items()},
        "groups": [list(group) for group in outlook.groups],
        "critical_path": {
            "nodes": list(path.ids),
            "estimated_seconds": path.seconds,
            "without_estimate": path.unestimated,
        },
        "models": _cost_data(look.costs),
        "tools": {tool.name: {"version": tool.version, "nodes": tool.nodes} for tool in outlook.tools},
    }


def _cost_data(costs: CostForecast | None) -> dict[str, Any] | None:
    if costs is None:
        return None
    earlier = {"calls": costs.known, "tokens": costs.likely.tokens, "cost_usd": costs.likely.usd}
    return {
        "calls": costs.calls,
        "most_tokens": costs.most.tokens,
        "most_cost_usd": costs.most.usd,
        "earlier_run": earlier if costs.known else None,
    }


def _node_data(compiled: CompiledPlan, node: NodeForecast) -> dict[str, Any]:
    own = compiled.nodes[node.id]
    return {
        "type": own.node.type.value,
        "tool": own.tool,
        "action": node.action.value,
        "reason": node.reason,
        "estimated_seconds": node.estimate,
        "key": own.key,
    }
