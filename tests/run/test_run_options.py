"""The options of a run: one meaning for each door."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.utilities.callables import parameter_schema

from tests.executors import Worker, executor
from tests.plans import node, plan
from vibe_prefect import UsageError, WorkflowExecutor, run_plan
from vibe_prefect.run.run_options import RunOptions, help_of
from vibe_prefect.settings.package import variable


def test_the_flow_takes_every_option_and_its_form_describes_each() -> None:
    properties: dict[str, Any] = parameter_schema(run_plan).model_dump()["properties"]
    assert list(properties) == ["plan", *RunOptions.model_fields]
    for name in RunOptions.model_fields:
        assert properties[name]["description"].startswith(help_of(name).rstrip("."))
        assert properties[name]["default"] == getattr(RunOptions(), name)


def test_the_executor_takes_every_option_but_those_of_a_single_run() -> None:
    own = {"resume_from", "select", "exclude", "refresh", "inputs"}
    assert RunOptions.model_fields.keys() - inspect.signature(WorkflowExecutor).parameters.keys() == own


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"concurrency": 0}, "concurrency: expected at least 1, found 0"),
    ({"budget_usd": -1}, "budget_usd: expected more than 0.0, found -1"),
    ({"max_tokens": "many"}, "max_tokens: expected a whole number, found 'many'"),
    ({"reuse": "all"}, "reuse: input should be 'run' or 'plan', found 'all'"),
]


@pytest.mark.parametrize(("given", "problem"), REFUSED)
def test_an_option_that_cannot_be_what_it_is_is_refused_when_the_executor_is_made(
    given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        WorkflowExecutor(**given)


@pytest.mark.server
async def test_the_executor_leaves_to_the_settings_what_it_is_not_given(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("output"), "made")
    monkeypatch.setenv(variable("concurrency"), "7")
    cases: list[tuple[dict[str, Any], int | None, str]] = [
        ({}, 7, "made"),
        ({"concurrency": None, "output": "own"}, None, "own"),
    ]
    for given, concurrency, output in cases:
        subject = executor(Worker(), **given)
        await subject.execute_plan(plan(node("a")))
        assert subject.last_run is not None
        assert subject.last_run.output_root.is_relative_to(folder / output)
        async with get_client() as client:
            parameters = (await client.read_flow_run(subject.last_run.flow_run_id)).parameters
        assert parameters["concurrency"] == concurrency
