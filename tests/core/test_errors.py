"""The tree of exceptions, their texts, and that they cross process borders."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest

import vibe_prefect
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeResult,
    OutsideRootError,
    PlanError,
    PlanRunError,
    Position,
    Problem,
    ResultTypeError,
    RunError,
    ToolDefinitionError,
    UsageError,
    VibePrefectError,
)
from vibe_prefect.errors import did_you_mean, shorten
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.tools import ToolInputError

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


def repickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def result_of(failed: int, skipped: int = 0, completed: int = 0) -> ExecutionResult:
    result = ExecutionResult("digest")
    for index in range(failed):
        result.add_node_result(NodeResult(f"f{index}", FAILED, error=f"error {index}"))
    for index in range(skipped):
        result.add_node_result(NodeResult(f"s{index}", SKIPPED, error="Dependencies not satisfied: f0 failed"))
    for index in range(completed):
        result.add_node_result(NodeResult(f"c{index}", COMPLETED))
    return result


def test_every_exported_exception_hangs_in_one_tree() -> None:
    exported = [getattr(vibe_prefect, name) for name in vibe_prefect.__all__]
    exceptions = [one for one in exported if inspect.isclass(one) and issubclass(one, BaseException)]
    assert PlanError in exceptions
    assert [one for one in exceptions if not issubclass(one, VibePrefectError)] == []


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (UsageError, [VibePrefectError]),
        (RunError, [VibePrefectError]),
        (PlanError, [UsageError, ValueError]),
        (ToolDefinitionError, [UsageError, TypeError]),
        (InvalidTemplateError, [UsageError, ValueError]),
        (ToolInputError, [UsageError, ValueError]),
        (PlanRunError, [RunError]),
        (ResultTypeError, [RunError, TypeError]),
        (OutsideRootError, [RunError, PermissionError]),
    ],
)
def test_usage_errors_stand_apart_from_run_errors(error: type[VibePrefectError], bases: list[type[Exception]]) -> None:
    assert all(issubclass(error, base) for base in bases)
    assert issubclass(error, UsageError) is not issubclass(error, RunError) or error in (UsageError, RunError)


def test_a_position_reads_as_editors_write_it_and_sorts() -> None:
    assert str(Position("plans/a.yaml", 12, 3)) == "plans/a.yaml:12:3"
    places = [Position("a", 2, 1), Position("a", 1, 9), Position("a", 1, 2)]
    assert sorted(places) == [Position("a", 1, 2), Position("a", 1, 9), Position("a", 2, 1)]


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("too long"), "too long"),
        (Problem("too long", field="id"), "id: too long"),
        (Problem("too long", "a"), "node 'a': too long"),
        (Problem("too long", "a", "id"), "node 'a', id: too long"),
        (Problem("too long", "a", "id", Position("p.yaml", 4, 7)), "p.yaml:4:7: node 'a', id: too long"),
        (Problem("too long", position=Position("p.yaml", 4, 7)), "p.yaml:4:7: too long"),
        (Problem("bad", ""), "node '': bad"),
    ],
)
def test_a_problem_says_where_it_is(problem: Problem, text: str) -> None:
    assert str(problem) == text


@pytest.mark.parametrize("value", [Position("p", 1, 2), Problem("bad", "a", "id", Position("p", 1, 2))])
def test_positions_and_problems_are_values(value: Any) -> None:
    assert repickled(value) == copy.deepcopy(value) == value
    assert hash(repickled(value)) == hash(value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, "other")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PlanError([Problem("bad")]), "the plan has 1 problem:\n  bad"),
        (PlanError([Problem("bad", "a"), Problem("worse")], "p"), "plan 'p' has 2 problems:\n  node 'a': bad\n  worse"),
    ],
)
def test_a_plan_error_lists_every_problem(error: PlanError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("name", [None, "p"])
def test_a_plan_error_pickles_with_its_problems(name: str | None) -> None:
    error = PlanError([Problem("bad", "a", "id", Position("p.yaml", 1, 2)), Problem("worse")], name)
    again = repickled(error)
    assert type(again) is PlanError
    assert (again.problems, again.name, str(again)) == (error.problems, name, str(error))
    assert copy.copy(error).problems == error.problems


def test_a_plan_error_keeps_its_own_copy_of_the_problems() -> None:
    problems = [Problem("bad")]
    error = PlanError(problems)
    problems.clear()
    assert error.problems == (Problem("bad"),)


def test_a_plan_run_error_names_the_failed_nodes() -> None:
    error = PlanRunError(result_of(failed=2, skipped=1, completed=3))
    assert error.failed == ("f0", "f1")
    assert str(error) == "plan 'digest': 2 of 6 nodes failed, 1 skipped\n  f0: error 0\n  f1: error 1"


def test_a_plan_run_error_gives_the_same_reason_once() -> None:
    result = result_of(failed=3)
    for node in list(result.node_results.values())[1:]:
        node.error = "budget: stopped"
    assert str(PlanRunError(result)).splitlines()[1:] == ["  f0: error 0", "  f1, f2: budget: stopped"]
    assert PlanRunError.says(str(PlanRunError(result)))
    assert not PlanRunError.says("nothing was run: a Secret block is missing")


@pytest.mark.parametrize(("failed", "last"), [(20, "  f19: error 19"), (21, "  and 1 more"), (25, "  and 5 more")])
def test_a_plan_run_error_stays_short(failed: int, last: str) -> None:
    error = PlanRunError(result_of(failed))
    lines = str(error).splitlines()
    assert len(error.failed) == failed
    assert (len(lines), lines[-1]) == (min(failed, 21) + 1, last)


def test_a_plan_run_error_pickles_with_its_result() -> None:
    error = PlanRunError(result_of(failed=1, completed=1))
    again = repickled(error)
    assert type(again) is PlanRunError
    assert (again.result, again.failed, str(again)) == (error.result, error.failed, str(error))


@pytest.mark.parametrize(
    "kind",
    [
        VibePrefectError,
        UsageError,
        RunError,
        ToolDefinitionError,
        ResultTypeError,
        OutsideRootError,
        InvalidTemplateError,
        ToolInputError,
    ],
)
def test_every_other_error_pickles_with_its_text(kind: type[VibePrefectError]) -> None:
    again = repickled(kind("what happened"))
    assert (type(again), str(again)) == (kind, "what happened")


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("template_fil", ["template_fill", "combine"], "; did you mean 'template_fill'?"),
        ("zzz", ["template_fill", "combine"], ""),
        ("combine", [], ""),
        ("", ["combine"], ""),
        ("digst", ["digest", "digests"], "; did you mean 'digest'?"),
        ("comb_ine", iter(["combine"]), "; did you mean 'combine'?"),
    ],
)
def test_a_hint_names_the_closest_known_word(word: str, known: Any, hint: str) -> None:
    assert did_you_mean(word, known) == hint


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        ("abc", 60, "'abc'"),
        (7, 60, "7"),
        ("x" * 58, 60, repr("x" * 58)),
        ("x" * 59, 60, "'" + "x" * 56 + "..."),
        ({"a": 1}, 6, "{'a..."),
        ("a\nb", 60, "'a\\nb'"),
    ],
)
def test_a_value_is_shown_within_a_width(value: object, width: int, text: str) -> None:
    assert shorten(value, width) == text
    assert len(text) <= width
