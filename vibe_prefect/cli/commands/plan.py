"""`vibe-prefect plan` and `run --vibe`: from a wish to a plan file."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from rich.text import Text

from vibe_prefect.cli.commands.diff import diff_document, print_comparison
from vibe_prefect.cli.commands.dry_run import forecast_document, print_facts
from vibe_prefect.cli.commands.run import RunRequest
from vibe_prefect.cli.commands.show import print_tree
from vibe_prefect.cli.commands.write_plan import check_free, write_plan
from vibe_prefect.cli.defaults import run_defaults
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.documents import print_document
from vibe_prefect.cli.display.lines import counted, one_line, token_cost
from vibe_prefect.cli.display.plan_documents import PlanDocument
from vibe_prefect.cli.exits import PROGRAM, ExitCode, complain
from vibe_prefect.cli.reading.lookup import look_up_if_answered
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.cli.reading.vibes import VibeArguments
from vibe_prefect.errors import PlanningError, UsageError
from vibe_prefect.llm.checked_answers import RefusedAnswer, writing_models
from vibe_prefect.operations import (
    CheckedPlan,
    PlanComparison,
    PlannedDraft,
    PlanningOptions,
    RunForecast,
    forecast,
    plan_vibe,
    refine_plan,
)
from vibe_prefect.plan.plan_yaml import read_comments
from vibe_prefect.plan.reading.plan_file import load_plan
from vibe_prefect.planning.sources import is_below
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.workspace import replace_file

EDITS = ", and --refine edits a plan file"
MAX_SHOWN = 3
"""Problems of a refused answer that are shown."""

Result = TypeVar("Result")


class NoPlanError(Exception):
    """No plan was made; the reason is printed."""


@dataclass(frozen=True)
class PlanOrder:
    """Arguments of the command besides the wish."""

    vibe: VibeArguments
    """Facts of the vibe, and the files and models that its plan may name."""

    output: Path | None = None
    """The plan file to write; `None` for one that is named after the plan, or for the file that is edited."""

    force: bool = False
    """Whether to write over a file that is there."""

    budget_usd: float | None = None
    """US dollars that planning may cost."""

    max_tokens: int | None = None
    """Tokens that planning may use."""

    input_root: Path = Path()
    """The input folder, in which the sources lie."""

    yes: bool = False
    """Whether to take an edit that touches gates without a question."""

    as_json: bool = False
    """Whether to print one JSON document."""

    @property
    def screen(self) -> Screen:
        """Screen for people."""
        return err() if self.as_json else out()


def plan_file(wish: str, order: PlanOrder) -> int:
    """Plan a wish, write the plan to a file, and show it; returns the exit code."""
    try:
        path, planned = _planned(order.screen, wish, order)
    except NoPlanError:
        return ExitCode.INTERNAL
    _end(order, path, planned)
    return ExitCode.COMPLETED


def refine_file(plan: str, change: str, order: PlanOrder) -> int:
    """Edit a plan file as somebody wishes, and show the differences; returns the exit code."""
    screen, registry = order.screen, command_registry()
    path = order.output or Path(plan)
    _check_refinable(plan, order)
    try:
        refined = _asked(screen, order, registry, path, partial(refine_plan, plan, change, tools=registry))
    except NoPlanError:
        return ExitCode.INTERNAL
    print_comparison(screen, refined.comparison)
    if not refined.comparison.difference.is_empty or path != Path(plan):
        comments = read_comments(load_plan(plan).source.text)
        heading = "\n".join(
            [*filter(None, [comments.heading]), f"Edited by {refined.planned.model}: {one_line(change)}"]
        )
        reasons = {**comments.of_nodes, **refined.planned.draft.reasons}
        if refined.comparison.difference.gates and not order.yes and not _accepted(order):
            draft = path.with_suffix(".draft.yaml")
            write_plan(draft, refined.planned.draft.plan, reasons, heading)
            raise UsageError(_gates_refused(refined.comparison.difference.gates, path, draft))
        write_plan(path, refined.planned.draft.plan, reasons, heading)
        _show(screen, path, refined.planned)
    _end(order, path, refined.planned, refined.comparison)
    return ExitCode.COMPLETED


def _accepted(order: PlanOrder) -> bool:
    """Ask whether an edit that touches gates is written; where nobody can be asked, it is not."""
    return _may_ask(order.screen, as_json=order.as_json) and _asked_yes(order.screen, "it touches gates; write it?")


def _gates_refused(gates: Mapping[str, str], path: Path, draft: Path) -> str:
    changes = "; ".join(f"gate {id!r} {one_line(change)}" for id, change in gates.items())
    return (
        f"{path} was left as it is: the edit may let through what a gate would have refused ({changes}). It is kept "
        f"in {draft}; --yes writes such an edit"
    )


def _may_ask(screen: Screen, *, as_json: bool) -> bool:
    return not as_json and screen.is_terminal and sys.stdin.isatty()


def _asked_yes(screen: Screen, question: str) -> bool:
    screen.say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _end(order: PlanOrder, path: Path, planned: PlannedDraft, comparison: PlanComparison | None = None) -> None:
    """Print the document about a plan, or the command that runs it."""
    if order.as_json:
        print_document(plan_document(planned, _forecast(planned), comparison, path))
    elif comparison is None or not comparison.difference.is_empty:
        order.screen.say(f"run it: {PROGRAM} run {shlex.quote(str(path))}", "dim")


def plan_document(
    planned: PlannedDraft, dry_run: RunForecast, comparison: PlanComparison | None = None, path: Path | None = None
) -> PlanDocument:
    """Return a plan that a model wrote as a JSON document.

    Args:
        planned: The plan, and how it was made.
        dry_run: Forecast of a run of it.
        comparison: Differences from the plan that was edited; `None` for a new plan.
        path: The file that it was written to, if any.
    """
    return PlanDocument(
        plan_id=planned.draft.plan.id,
        plan_file=None if path is None else str(path),
        text=planned.text(),
        model=planned.model,
        answers=planned.answers,
        tokens=planned.spent.tokens,
        cost_usd=planned.spent.usd,
        knowledge=list(planned.knowledge),
        diff=None if comparison is None else diff_document(comparison),
        forecast=forecast_document(dry_run),
    )


def planned_request(
    request: RunRequest, wish: str | None, arguments: VibeArguments, *, yes: bool, only_forecast: bool
) -> RunRequest | None:
    """Plan a wish for a run that is about to begin, and ask whether to run the plan.

    Args:
        request: The run without a plan; its budget is that of planning too.
        wish: The wish.
        arguments: What the vibe is, and what its plan may be made of.
        yes: Whether to run it without a question.
        only_forecast: Whether nothing is run anyway.

    Returns:
        The run with its plan, and with what is left of its budget; `None` where there is no plan, which is printed.

    Raises:
        UsageError: There is no wish, or a plan file besides; nobody can be asked, or the answer is no.
    """
    if wish is None:
        raise UsageError("name a plan file, or say with --vibe what is to be made")
    if request.plan or request.options.resume_from:
        raise UsageError("--vibe makes a new plan: leave the plan file and --resume out")
    screen = err() if request.as_json else out()
    asks = not (yes or only_forecast)
    if asks and not _may_ask(screen, as_json=request.as_json):
        raise UsageError("the plan would be shown before it is run, and nobody can answer here; --yes runs it unseen")
    options = request.options
    root = Path(options.input_root)
    order = PlanOrder(arguments, None, budget_usd=options.budget_usd, max_tokens=options.max_tokens, input_root=root)
    try:
        path, planned = _planned(screen, wish, order)
    except NoPlanError:
        return None
    if asks and not _asked_yes(screen, "run it?"):
        raise UsageError(f"nothing was run; the plan is in {path}")
    return replace(request, plan=str(path), plan_file=str(path.resolve()), options=_with_rest(options, planned))


def _with_rest(options: RunOptions, planned: PlannedDraft) -> RunOptions:
    """Return the options of a run with the part of its budget that planning has left."""
    rest: dict[str, Any] = {}
    if options.budget_usd is not None and planned.spent.usd is not None:
        rest["budget_usd"] = options.budget_usd - planned.spent.usd
    if options.max_tokens is not None:
        rest["max_tokens"] = options.max_tokens - planned.spent.tokens
    if any(value <= 0 for value in rest.values()):
        raise UsageError("planning has used up the budget; nothing was run")
    return options.replaced(rest)


def _planned(screen: Screen, wish: str, order: PlanOrder) -> tuple[Path, PlannedDraft]:
    if order.output is not None:
        check_free(order.output, force=order.force, hint=EDITS)
    registry, vibe = command_registry(), order.vibe.vibe(wish)
    draft_beside = order.output or Path("plan.yaml")
    planned = _asked(screen, order, registry, draft_beside, partial(plan_vibe, vibe, tools=registry))
    path = order.output or _free_path(planned.draft.plan.id)
    write_plan(path, planned.draft.plan, planned.draft.reasons, planned.heading)
    _show(screen, path, planned)
    return path, planned


def _asked(
    screen: Screen,
    order: PlanOrder,
    registry: ToolRegistry,
    path: Path,
    question: Callable[[PlanningOptions], Coroutine[Any, Any, Result]],
) -> Result:
    """Ask a model for a plan, and show how far it is.

    Args:
        screen: Where that is shown.
        order: The command's arguments.
        registry: The tools that the plan may name.
        path: The plan file to write: a draft that is no valid plan is kept beside it.
        question: Asks the model.

    Raises:
        UsageError: There is no model, or an argument cannot be what it is.
        NoPlanError: The model wrote no valid plan; the reason is printed.
    """
    _check_sources(order)
    model = writing_models(registry, "a plan").config.chosen(order.vibe.model)
    try:
        with _progress(screen, f"{model} writes a plan") as on_text:
            options = PlanningOptions(
                order.vibe.knowledge,
                order.vibe.source,
                order.vibe.model,
                budget_usd=order.budget_usd,
                max_tokens=order.max_tokens,
                on_refused=partial(_say_refused, screen),
                on_text=on_text,
            )
            return asyncio.run(question(options))
    except PlanningError as error:
        complain(f"{error}{_kept_draft(path, error)}")
        raise NoPlanError from error


@contextmanager
def _progress(screen: Screen, label: str) -> Generator[Callable[[str], None]]:
    """Show that a model writes, and how much it has written."""
    if not screen.lively:
        screen.say(f"{label} ...", "dim")
        yield lambda _: None
        return
    with screen.console.status(Text(f"{label} ...", "dim")) as status:
        yield lambda words: status.update(Text(f"{label} ... {words}", "dim"))


def _say_refused(screen: Screen, number: int, refused: RefusedAnswer) -> None:
    faults = len(refused.problems)
    screen.say(f"answer {number:,} has {counted(faults, 'problem')}:", "yellow")
    for problem in refused.problems[:MAX_SHOWN]:
        screen.say(Text(f"  {one_line(problem)}", "dim"))
    if faults > MAX_SHOWN:
        screen.say(f"  and {faults - MAX_SHOWN:,} more", "dim")


def _kept_draft(path: Path, error: PlanningError) -> str:
    """Keep the last answer of a model that wrote no valid plan, and return a line that says where."""
    if error.draft is None:
        return ""
    draft = path.with_suffix(".draft.json")
    try:
        replace_file(draft, error.draft.encode(errors="replace"))
    except OSError as problem:
        return f"\nthe last answer could not be kept in {draft}: {problem.strerror or problem}"
    return f"\nthe last answer is kept in {draft}"


def _check_sources(order: PlanOrder) -> None:
    """Refuse sources that are not there: a plan that may read them would fail."""
    for source in order.vibe.source:
        if is_below(source) and not any(order.input_root.glob(source)):
            raise UsageError(f"--source {source!r}: there is no such file in {order.input_root.resolve()}")


def _check_refinable(plan: str, order: PlanOrder) -> None:
    if order.vibe.style or order.vibe.constraint or order.vibe.domain:
        raise UsageError(
            "an edit keeps the plan's vibe: say in --refine what is to change, without --style and the like"
        )
    if order.output is not None and order.output != Path(plan):
        check_free(order.output, force=order.force)
    elif load_plan(plan).source.parts:
        raise UsageError(
            f"{plan} has parts in other files, which an edit would put into one; name another file with -o"
        )


def _free_path(id: str) -> Path:
    """Return the path of a plan file that is named after the plan and is not there yet."""
    numbers = count(2)
    path = Path(f"{id}.yaml")
    while path.exists():
        path = Path(f"{id}-{next(numbers)}.yaml")
    return path


def _forecast(planned: PlannedDraft) -> RunForecast:
    checked = CheckedPlan(planned.draft.compiled, command_registry())
    return asyncio.run(forecast(checked, run_defaults(), look_up=look_up_if_answered))


def _show(screen: Screen, path: Path, planned: PlannedDraft) -> None:
    """Print a plan as a tree, and what a run of it would take."""
    print_tree(screen, planned.draft.compiled)
    print_facts(screen, _forecast(planned))
    if planned.knowledge:
        screen.say(Text.assemble(("knowledge  ", "dim"), one_line(", ".join(planned.knowledge))))
    for name, cut in planned.cuts.items():
        screen.say(f"  {one_line(name)} did not fit: {cut.kept:,} of {cut.characters:,} characters were read", "dim")
    answers = counted(planned.answers, "answer")
    cost = token_cost(planned.spent.tokens, planned.spent.usd)
    screen.say(f"wrote {path} (by {planned.model}: {answers}, {cost})")
