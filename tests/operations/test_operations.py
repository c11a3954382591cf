"""What the command line does, called from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.plans import node, plan
from vibe_prefect import PlanError, ToolRegistry, operations
from vibe_prefect.operations import diff, forecast, validate

NO_TOOLS = ToolRegistry()


def test_every_name_is_there() -> None:
    assert all(callable(getattr(operations, name)) for name in operations.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'guess'"):
        operations.__getattr__("guess")


def test_validating_a_plan_needs_no_prefect(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan(node("a")).model_dump_json())
    code = (
        "import sys; from vibe_prefect import ToolRegistry; from vibe_prefect.operations import validate; "
        f"checked = validate({str(path)!r}, simulate=True, tools=ToolRegistry()); "
        "print(checked.compiled.plan.id, 'prefect' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["plan", "False"]


def test_validation_has_every_problem_of_a_plan_in_memory() -> None:
    with pytest.raises(PlanError) as caught:
        validate(plan(node("a", needs=["x"]), node("b", needs=["y"])), simulate=True, tools=NO_TOOLS)
    assert len(caught.value.problems) == 2


async def test_forecast_as_text_has_a_line_for_each_node() -> None:
    checked = validate(plan(node("a"), node("long", needs=["a"])), simulate=True, tools=NO_TOOLS)
    ahead = await forecast(checked)
    assert str(ahead).splitlines() == [
        "run    a     no record",
        "run    long  no record",
        "2 of 2 nodes would run",
    ]


async def test_diff_compares_plans_in_memory_and_files_without_a_server(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan(node("a"), node("b", needs=["a"])).model_dump_json())
    compared = await diff(path, plan(node("a"), node("b")), tools=NO_TOOLS)
    assert (compared.a.label, compared.b.label) == (str(path), "plan")
    assert list(compared.difference.executes) == ["b"]
