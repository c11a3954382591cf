"""Forecast of a run, before anything is paid for: reuse, cost, keys, and obstacles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_prefect.operations._lookup import Lookup, as_today, last_list_sizes, look_up, look_up_blocks
from vibe_prefect.operations._plans import CheckedPlan, check_placements_of
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.costs import CostForecast, cost_forecast, paying_nodes
from vibe_prefect.plan.inputs.given import fitting_inputs
from vibe_prefect.plan.node_forecast import Action, Forecast
from vibe_prefect.plan.node_forecast import forecast as forecast_nodes
from vibe_prefect.plan.preflight import call_problems
from vibe_prefect.plan.unfold import UnfoldedPlan
from vibe_prefect.run.conditions import known_conditions
from vibe_prefect.run.contents import read_contents
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.secrecy.key_sources import KeySource
from vibe_prefect.tools.workspace import Workspace

if TYPE_CHECKING:
    from vibe_prefect.engine.past_run import PastRun
    from vibe_prefect.engine.runs.earlier_runs import KeptNodes

LookUp = Callable[[CheckedPlan, Collection[str], Collection[str]], Awaitable[Lookup]]
"""Asks the server for a plan's earlier costs and Secret blocks; see `look_up`."""


@dataclass(frozen=True)
class RunForecast:
    """Forecast of a run that has not begun. As text: a line for each node, and the cost."""

    compiled: CompiledPlan
    """The plan."""

    forecast: Forecast
    """Fate of each node, and why."""

    options: RunOptions = field(default_factory=RunOptions)
    """The options that the run would have."""

    earlier: PastRun | None = None
    """The run that it resumes."""

    costs: CostForecast | None = None
    """Cost of models and paid tools; `None` where nothing is paid for."""

    keys: Mapping[KeySource, tuple[str, ...]] = field(default_factory=dict[KeySource, tuple[str, ...]])
    """Sources of the keys that it needs, each with the tools."""

    lacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Obstacles that would stop the run before its first node, such as a provider's missing library or a node that the
    ComfyUI server does not have, each with the tools."""

    lookup: Lookup = field(default_factory=Lookup)
    """Answer of the server."""

    unknown_lists: tuple[str, ...] = ()
    """Ids of the composites whose lists are not known before the run: each of their nodes is counted once."""

    @property
    def list_facts(self) -> tuple[str, ...]:
        """What is known of the lists that are not known before the run, a line each."""
        sizes = self.lookup.list_sizes
        return tuple(
            f"{id}: its list is not known before the run"
            + (f" (the last time it had {sizes[id]:,})" if id in sizes else "")
            + "; each of its nodes is counted once"
            for id in self.unknown_lists
        )

    @property
    def verdict(self) -> str:
        """Numbers of nodes that would run, be reused and be skipped, in words."""
        runs, reused, skipped = (self.forecast.count(action) for action in (Action.RUN, Action.REUSE, Action.SKIP))
        total = len(self.forecast.nodes)
        parts = [f"{runs:,} of {total:,} node{'' if total == 1 else 's'} would run"]
        parts += [f"{reused:,} reused"] if reused else []
        parts += [f"{skipped:,} skipped"] if skipped else []
        doubtful = sum(node.may_skip for node in self.forecast.nodes.values())
        parts += [f"{doubtful:,} may be skipped"] if doubtful else []
        return ", ".join(parts)

    def is_set(self, source: KeySource) -> bool | None:
        """Return whether the key is there; `None` where the server could not be asked."""
        return self.lookup.blocks.get(source.block) if source.block else source.is_set

    def __str__(self) -> str:
        width = max(map(len, self.forecast.nodes), default=0)
        lines = [f"{node.action.value:<6} {node.id:<{width}}  {node.reason}" for node in self.forecast.nodes.values()]
        lines.append(self.verdict)
        lines += self.list_facts
        if self.costs is not None:
            maximum = self.costs.most
            usd = "of unknown price" if maximum.usd is None else f"{maximum.usd:.4f} USD"
            lines.append(f"costs at most {maximum.tokens:,} tokens, {usd}")
        lines += [f"missing for {', '.join(tools)}: {lack}" for lack, tools in self.lacks.items()]
        return "\n".join(lines)


async def forecast(plan: CheckedPlan, options: RunOptions | None = None, *, look_up: LookUp = look_up) -> RunForecast:
    """Forecast a run of a plan, and execute nothing.

    The Prefect server is asked only where something is paid for, a key is in a block or a list is not known yet, or to
    resume a run.

    Args:
        plan: The plan, as `validate` returns it.
        options: The run's options; their defaults where it is left out.
        look_up: Asks the server for earlier costs and Secret blocks.

    Raises:
        UnknownRunError: The server does not know the run to resume.
        SelectionError: A selector does not parse, or matches nothing.
    """
    options = options or RunOptions()
    if options.run_on is not None:
        check_placements_of(plan.compiled, run_on=options.run_on)
    earlier = await _earlier(options.resume_from)
    plan, unread = await _with_contents(_with_values(plan, earlier, options.inputs), earlier, options)
    unfolded = await _unfolded(plan.compiled, earlier, options)
    written, plan = plan.compiled, replace(plan, compiled=unfolded.compiled(templates=True))
    nodes = _with_unread(await _nodes(plan, written, earlier, options), unread)
    runs = nodes.ids(Action.RUN)
    keys = plan.tools.key_sources({tool.name for tool in nodes.tools})
    if earlier is None:
        lookup = await look_up(plan, paying_nodes(plan.compiled, runs, plan.tools), _blocks(keys))
    else:
        lookup = await _look_up_run(plan, earlier, _blocks(keys))
    lacks = await call_problems(plan.compiled, runs, plan.tools, _workspace(options))
    costs = cost_forecast(plan.compiled, runs, plan.tools, lookup.paid)
    return RunForecast(plan.compiled, nodes, options, earlier, costs, keys, lacks, lookup, unfolded.unknown)


def _with_values(plan: CheckedPlan, earlier: PastRun | None, given: Mapping[str, Any]) -> CheckedPlan:
    """Return a plan with the inputs that are given, and the inputs and facts of the run to resume."""
    before = fitting_inputs(plan.compiled.plan, earlier.parameters.inputs) if earlier else {}
    compiled = plan.compiled.with_inputs({**before, **plan.compiled.values.given, **given})
    is_known = earlier is not None and compiled.names_facts
    return replace(plan, compiled=compiled.for_run(earlier.facts) if earlier and is_known else compiled)


async def _with_contents(
    plan: CheckedPlan, earlier: PastRun | None, options: RunOptions
) -> tuple[CheckedPlan, Mapping[str, str]]:
    """Return a plan with what its nodes read from outside, where records may be reused, and why some was not read."""
    compiled = plan.compiled
    if not compiled.fresh_nodes or (earlier is None and options.reuse != "plan"):
        return plan, {}
    contents = await read_contents(compiled, plan.tools, _workspace(options))
    return replace(plan, compiled=compiled.with_contents(contents.hashes)), contents.unread


def _with_unread(nodes: Forecast, unread: Mapping[str, str]) -> Forecast:
    """Return a forecast with the reasons why contents could not be read."""
    reasons = {id: f"what it reads could not be compared: {unread[id]}" for id in unread}
    changed = {id: replace(nodes.nodes[id], reason=reason) for id, reason in reasons.items()}
    return replace(nodes, nodes={**nodes.nodes, **changed}) if changed else nodes


def _workspace(options: RunOptions) -> Workspace:
    return Workspace(Path(options.input_root).resolve(), Path(options.output).resolve())


async def _earlier(reference: str | None) -> PastRun | None:
    if reference is None:
        return None
    from vibe_prefect.engine.runs.earlier_runs import earlier_run

    return await earlier_run(reference)


async def _unfolded(compiled: CompiledPlan, earlier: PastRun | None, options: RunOptions) -> UnfoldedPlan:
    """Return the plan with the nodes of those lists that are known before the run."""
    if not any(place.gathers for place in compiled.graph.nodes.values()):
        return UnfoldedPlan(compiled)
    from vibe_prefect.engine.records.records import Records
    from vibe_prefect.engine.records.storage import open_store
    from vibe_prefect.engine.runs.recorded_lists import unfold_recorded

    shares = options.reuse == "plan"
    reads_records = earlier is not None or shares
    namespace = _namespace(compiled.plan.id, None if shares else earlier)
    return await unfold_recorded(compiled, Records(await open_store(None), namespace) if reads_records else None)


async def _nodes(plan: CheckedPlan, written: CompiledPlan, earlier: PastRun | None, options: RunOptions) -> Forecast:
    compiled, choice = plan.compiled, options.choice
    shares = options.reuse == "plan"
    reads_records = earlier is not None or shares
    reusable = await _kept(compiled, None if shares else earlier, options.output) if reads_records else None
    return forecast_nodes(
        compiled,
        reusable.ids if reusable else (),
        lost={**reusable.lost, **reusable.outdated} if reusable else None,
        earlier=as_today(earlier, plan) if earlier else None,
        run=earlier.name if earlier else None,
        selected=choice.selected(written, compiled),
        refreshed=choice.refreshed(written, compiled) if reads_records else frozenset(),
        conditions=await known_conditions(compiled, reusable.outputs if reusable else {}),
        absent=reusable.absent if reusable else None,
        fallbacks=reusable.fallbacks if reusable else None,
    )


async def _kept(compiled: CompiledPlan, earlier: PastRun | None, output: str) -> KeptNodes:
    """Find the records to reuse: those of the run that is resumed, or those that the plan's runs share."""
    from vibe_prefect.engine.past_run import run_folder
    from vibe_prefect.engine.runs.earlier_runs import kept_nodes

    plan_id = compiled.plan.id
    return await kept_nodes(
        compiled, _namespace(plan_id, earlier), run_folder(output, plan_id, earlier and earlier.first)
    )


def _namespace(plan_id: str, earlier: PastRun | None) -> str:
    from vibe_prefect.engine.records.records import SHARED_PREFIX

    first = earlier and earlier.first
    return str(first.id) if first else f"{SHARED_PREFIX}{plan_id}"


async def _look_up_run(plan: CheckedPlan, earlier: PastRun, blocks: Collection[str]) -> Lookup:
    """Look up what the run to resume has paid; that is nearer than the costs of other runs of the plan."""
    from vibe_prefect.engine.records.records import Records
    from vibe_prefect.engine.records.storage import open_store

    before = as_today(earlier, plan)
    records = Records(await open_store(None), earlier.record_namespace)
    paid = {} if before is None else await records.costs(before.nodes.values())
    found = await look_up_blocks(blocks) if blocks else {}
    return Lookup(paid, (earlier.name,), found, await last_list_sizes(plan, earlier))


def _blocks(keys: Iterable[KeySource]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source.block for source in keys if source.block))
