"""Values of a plan's inputs: defaults, refusals in exact words, and what is kept of an earlier run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plans import plan
from vibe_prefect import InputsError, WorkflowPlan
from vibe_prefect.plan.inputs.given import fitting_inputs, input_values, known_values
from vibe_prefect.tools.secrecy.known import remember

DECLARED: dict[str, Any] = {
    "product": {"type": "string", "minLength": 2},
    "locales": {"type": "array", "items": {"enum": ["en", "de"]}, "default": ["en"]},
    "tone": {"enum": ["warm", "plain"], "default": "plain"},
    "words": {"type": "integer", "maximum": 500, "default": 50},
}


def tea(**declared: Any) -> WorkflowPlan:
    return plan(id="tea", inputs=declared or DECLARED)


def test_inputs_that_are_left_out_have_the_plans_defaults() -> None:
    values = input_values(tea(), {"words": 80, "product": "Tea"})
    assert values == {"product": "Tea", "locales": ["en"], "tone": "plain", "words": 80}
    assert list(values) == list(DECLARED)


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({}, ["product: missing; it is required (string); give it, as in --set product=..."]),
        (
            {"prodduct": "Tea", "product": "Tea"},
            ["prodduct: the plan has no input of this name; did you mean 'product'?"],
        ),
        (
            {"product": "Tea", "x": 1},
            ["x: the plan has no input of this name; it has product, locales, tone, words"],
        ),
        ({"product": 5}, ["product: 5 is not of type 'string'"]),
        ({"product": "T"}, ["product: 'T' is too short"]),
        ({"product": "Tea", "words": 501}, ["words: 501 is greater than the maximum of 500"]),
        ({"product": "Tea", "words": float("nan")}, ["words: expected a finite number, found nan"]),
        ({"product": "Tea", "words": 2**70}, [f"words: {2**70} has more than 64 bits; put it in quotes"]),
        ({"product": "Tea", "locales": ["en", "xx"]}, ["locales[1]: 'xx' is not one of ['en', 'de']"]),
        (
            {"product": "Tea", "tone": "plan"},
            ["tone: expected one of warm, plain, found 'plan'; did you mean 'plain'?"],
        ),
        (
            {"product": "Tea\0"},
            ["product: a NUL character (\\x00) at position 3, which databases cannot hold; leave it out"],
        ),
        (
            {"product": "x" * 200_000},
            ["the inputs have 200,014 bytes; a run takes 128,000; have a node read a large text from a file"],
        ),
    ],
)
def test_inputs_are_refused_in_these_words(given: dict[str, Any], problems: list[str]) -> None:
    with pytest.raises(InputsError) as caught:
        input_values(tea(), given)
    assert [str(problem) for problem in caught.value.problems] == [
        problem.replace("\\x00", "\\0") for problem in problems
    ]


def test_inputs_of_a_plan_that_declares_none_are_refused() -> None:
    with pytest.raises(InputsError, match="product: the plan has no input of this name; it declares none"):
        input_values(plan(), {"product": "Tea"})


def test_a_known_secret_is_not_in_the_refusal() -> None:
    remember("sk-very-secret-0123456789")
    with pytest.raises(InputsError) as caught:
        input_values(tea(), {"product": "Tea", "tone": "sk-very-secret-0123456789"})
    assert "very-secret" not in str(caught.value)


def test_inputs_of_an_earlier_run_are_kept_as_far_as_the_plan_takes_them() -> None:
    earlier = {"product": "Tea", "words": "many", "gone": 1}
    assert fitting_inputs(tea(), earlier) == {"product": "Tea"}
    assert known_values(tea(), earlier) == {"product": "Tea", "locales": ["en"], "tone": "plain", "words": 50}
