"""Composites that run their children for each item of a list, in Prefect and over resumes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from tests.executors import executor, run_id
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionStatus,
    ProgressEvent,
    ToolRegistry,
    WorkflowExecutor,
    WorkflowPlan,
    default_registry,
    load_plan,
    tool,
)
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.errors import ToolError, UsageError
from vibe_prefect.operations import approve, edit, forecast, reject, validate
from vibe_prefect.plan.node_forecast import Action
from vibe_prefect.plan.selection import Choice
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools import Tool
from vibe_prefect.tools.builtin.registered import builtin_tool

pytestmark = pytest.mark.server

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here has the server, and an empty folder to work in."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE", str(folder / "records"))


class Studio:
    """Tools that note their calls."""

    def __init__(self, shots: list[Any], failing: str = "") -> None:
        self.shots, self.failing, self.calls = shots, failing, list[str]()
        self.more: list[Tool] = []

    @property
    def registry(self) -> ToolRegistry:
        @tool(version="1")
        def outline() -> dict[str, Any]:
            """List the shots."""
            self.calls.append("outline")
            return {"shots": self.shots}

        @tool(version="1")
        def say(text: str) -> dict[str, str]:
            """Say a text."""
            self.calls.append(text)
            if self.failing and self.failing in text:
                raise ToolError(f"cannot say {text}")
            return {"text": text}

        return ToolRegistry([outline, say, *self.more])


def say(id: str, text: str, **fields: Any) -> dict[str, Any]:
    parameters = {"tool": "say", "tool_inputs": {"text": text}}
    return node(id, parameters=parameters, **fields).model_dump()


def story(key: str | None = None, **fields: Any) -> WorkflowPlan:
    children = [
        say("write", "write {{ shot.text }}"),
        say("draw", "draw {{ outputs.write.text }}", needs=["write"]),
    ]
    each = {"for_each": "{{ outputs.outline.shots }}", "as": "shot", "key": key, "children": children} | fields
    return plan(
        node("outline", "analyze", parameters={"tool": "outline"}),
        node("shots", "composite", needs=["outline"], **each),
        node(
            "bundle",
            parameters={"tool": "say", "tool_inputs": {"text": "{{ outputs.shots | length }} shots"}},
            needs=["shots"],
        ),
    )


def shots(*texts: str) -> list[Any]:
    return [{"id": text[0], "text": text} for text in texts]


async def ran(studio: Studio, subject: WorkflowPlan, before: WorkflowExecutor | None = None, **options: Any) -> Any:
    runner = executor(tool_registry=studio.registry, **options)
    return runner, await runner.execute_plan(subject, resume_from=run_id(before) if before else None)


@pytest.mark.parametrize("key", [None, "{{ shot.id }}"])
async def test_a_failed_item_runs_again_alone(key: str | None) -> None:
    first, result = await ran(Studio(shots("sun", "moon", "rain"), failing="draw write moon"), story(key))
    assert result.status is FAILED
    name = "1" if key is None else "m"
    assert result.node_results[f"shots.{name}.draw"].status is FAILED
    assert result.node_results["shots"].error == f"2 of 3 items completed; not completed: {name}"
    assert result.node_results["bundle"].error == "Dependencies not satisfied: shots failed"
    again = Studio(shots("sun", "moon", "rain"))
    _, result = await ran(again, story(key), first)
    assert result.status is COMPLETED
    assert again.calls == ["draw write moon", "3 shots"]
    assert result.node_results["shots"].result["result"][1] == {
        "write": {"text": "write moon"},
        "draw": {"text": "draw write moon"},
    }


@pytest.mark.parametrize("key", [None, "{{ shot.id }}"])
async def test_an_item_in_the_middle_costs_one_item(key: str | None) -> None:
    lists = {"type": "array", "default": shots("sun", "moon")}
    subject = story(key).model_copy(update={"inputs": {"shots": lists}})
    subject.root_nodes[1].for_each = "{{ inputs.shots }}"
    first, result = await ran(Studio([]), subject)
    assert result.status is COMPLETED
    again = Studio([])
    runner = executor(tool_registry=again.registry)
    longer = shots("sun", "fog", "moon", "sun")
    longer[3]["id"] = "z" if key else "s"
    result = await runner.execute_plan(subject, resume_from=run_id(first), inputs={"shots": longer})
    assert result.status is COMPLETED
    assert sorted(again.calls) == sorted(["write fog", "draw write fog", "write sun", "draw write sun", "4 shots"])
    names = ["s", "f", "m", "z"] if key else ["0", "1", "2", "3"]
    assert result.node_results["shots"].result["items"] == names
    assert [result.node_results[f"shots.{name}.write"].reused for name in names] == [True, False, True, False]
    assert [item["draw"]["text"][11:] for item in result.node_results["shots"].result["result"]] == [
        "sun",
        "fog",
        "moon",
        "sun",
    ]


async def test_prefect_shows_the_nodes_of_items_and_what_they_wait_for() -> None:
    runner, _ = await ran(Studio(shots("sun", "moon")), story("{{ shot.id }}"), wait_recorded=True)
    async with get_client() as client:
        body = {"flow_runs": {"id": {"any_": [run_id(runner)]}}}
        runs = (await client.request("POST", "/task_runs/filter", json=body)).json()
    names = {run["id"]: run["name"] for run in runs}
    edges = {run["name"]: {names[source["id"]] for source in run["task_inputs"].get("wait_for", [])} for run in runs}
    assert edges == {
        "outline": set(),
        "shots.s.write": {"outline"},
        "shots.m.write": {"outline"},
        "shots.s.draw": {"shots.s.write"},
        "shots.m.draw": {"shots.m.write"},
        "shots": {"outline", "shots.s.draw", "shots.m.draw"},
        "bundle": {"shots"},
    }


async def test_enough_items_complete_the_composite() -> None:
    studio = Studio(shots("sun", "moon", "rain"), failing="draw write moon")
    first, result = await ran(studio, story(min_completed=2))
    assert result.status is COMPLETED
    assert result.node_results["shots.1.draw"].status is FAILED
    assert studio.calls[-1] == "2 shots"
    again = Studio(shots("sun", "moon", "rain"))
    _, result = await ran(again, story(min_completed=2), first)
    assert again.calls == ["draw write moon", "3 shots"]


async def test_an_empty_list_completes() -> None:
    studio = Studio([])
    _, result = await ran(studio, story())
    assert result.status is COMPLETED
    assert result.node_results["shots"].result["result"] == []
    assert studio.calls == ["outline", "0 shots"]


UNUSABLE: list[tuple[Any, dict[str, Any], str]] = [
    ("sun", {}, "for_each: expected a list, found 'sun'"),
    (["a", "b", "c"], {"max_items": 2}, "for_each: the list has 3 items; max_items is 2"),
    (
        shots("sun", "snow"),
        {"key": "{{ shot.id }}"},
        "key: the items 1 and 2 have the same name 's'; name them apart",
    ),
    ([{"id": "?!"}], {"key": "{{ shot.id }}"}, "key: item 1 has no name: '?!' holds no letter and no digit"),
    ([{}], {"key": "{{ shot.id }}"}, "key: item 1: 'dict object' has no attribute 'id'"),
]


@pytest.mark.parametrize(("items", "fields", "message"), UNUSABLE)
async def test_a_list_that_cannot_be_run_fails_the_composite(items: Any, fields: dict[str, Any], message: str) -> None:
    studio = Studio(items)
    _, result = await ran(studio, story(**fields))
    assert result.status is FAILED
    assert (result.node_results["shots"].error or "").startswith(message)
    assert result.feedback_data["shots"]["failure_kind"] == "input"
    assert studio.calls == ["outline"]


async def test_the_dry_run_of_a_resume_names_the_items_that_run() -> None:
    items = [{"id": f"s{index}", "text": f"shot {index}"} for index in range(50)]
    subject = story("{{ shot.id }}").model_copy(update={"inputs": {"shots": {"type": "array", "default": items}}})
    subject.root_nodes[1].for_each = "{{ inputs.shots }}"
    studio = Studio([])
    first, _ = await ran(studio, subject)
    longer = [*items[:25], {"id": "new", "text": "new-shot"}, *items[25:]]
    checked = validate(subject, tools=studio.registry).with_inputs({"shots": longer})
    options = RunOptions(resume_from=run_id(first), output="outputs")
    dry = await forecast(checked, options)
    assert set(dry.forecast.ids(Action.RUN)) == {"shots.new.write", "shots.new.draw", "shots", "bundle"}
    again = Studio([])
    runner = executor(tool_registry=again.registry)
    await runner.execute_plan(subject, resume_from=run_id(first), inputs={"shots": longer})
    assert again.calls == ["write new-shot", "draw write new-shot", "51 shots"]


async def test_a_list_that_an_earlier_node_makes_is_told_as_unknown() -> None:
    dry = await forecast(validate(story().model_copy(update={"id": "never-run"}), tools=Studio([]).registry))
    assert dry.unknown_lists == ("shots",)
    assert "shots: its list is not known before the run; each of its nodes is counted once" in str(dry)
    assert list(dry.forecast.nodes) == ["outline", "shots", "write", "draw", "bundle"]
    skipped = await forecast(
        validate(story().model_copy(update={"id": "never-run"}), tools=Studio([]).registry),
        RunOptions(exclude="outline"),
    )
    assert skipped.forecast.ids(Action.RUN) == ()
    studio = Studio(shots("sun", "moon"))
    await ran(studio, story().model_copy(update={"id": "listed-before"}))
    dry = await forecast(validate(story().model_copy(update={"id": "listed-before"}), tools=studio.registry))
    assert "shots: its list is not known before the run (the last time it had 2); each of its nodes" in str(dry)


@pytest.mark.parametrize(
    ("refresh", "called"),
    [
        ("shots.s.draw", ["draw write sun", "2 shots"]),
        ("shots.*.draw", ["draw write sun", "draw write moon", "2 shots"]),
        ("draw", ["draw write sun", "draw write moon", "2 shots"]),
    ],
)
async def test_selectors_name_the_nodes_of_one_item_and_of_all(refresh: str, called: list[str]) -> None:
    first, _ = await ran(Studio(shots("sun", "moon")), story("{{ shot.id }}"))
    again = Studio(shots("sun", "moon"))
    runner = executor(tool_registry=again.registry)
    result = await runner.execute_plan(
        story("{{ shot.id }}"), resume_from=run_id(first), choice=Choice(refresh=refresh)
    )
    assert result.status is COMPLETED
    assert sorted(again.calls) == sorted(call for call in called if call != "2 shots")


async def test_the_report_of_a_run_knows_the_nodes_of_its_items() -> None:
    runner, _ = await ran(Studio(shots("sun", "moon")), story("{{ shot.id }}"), wait_recorded=True)
    report = await load_report(run_id(runner))
    assert [(node.id, node.parent) for node in report.nodes] == [
        ("outline", None),
        ("shots", None),
        ("shots.s.write", "shots"),
        ("shots.s.draw", "shots"),
        ("shots.m.write", "shots"),
        ("shots.m.draw", "shots"),
        ("bundle", None),
    ]


@pytest.mark.parametrize("key", [None, "{{ shot.id }}"])
async def test_a_checkpoint_resumes_the_nodes_of_items(key: str | None, folder: Path) -> None:
    options: dict[str, Any] = {"checkpoint_interval": 1, "checkpoint_dir": folder / "checkpoints"}
    runner, _ = await ran(Studio(shots("sun", "moon"), failing="draw write moon"), story(key), **options)
    again = Studio(shots("sun", "moon"))
    resumed = executor(tool_registry=again.registry, **options)
    result = await resumed.execute_plan(story(key), resume_from_checkpoint=runner.last_checkpoint_id)
    assert result.status is COMPLETED
    assert again.calls == ["draw write moon", "2 shots"]


def asking() -> tuple[Studio, WorkflowPlan]:
    """Two shots, and a node that asks about them."""
    subject = story("{{ shot.id }}")
    subject.root_nodes[2:] = [node("ask", "validate", needs=["shots"], parameters={"tool": "approve"})]
    studio = Studio(shots("sun", "moon"))
    studio.more = [builtin_tool("approve")]
    return studio, subject


async def test_each_item_of_a_list_is_approved_by_itself() -> None:
    studio, subject = asking()
    first, result = await ran(studio, subject)
    assert result.status is ExecutionStatus.PENDING
    name = run_id(first)
    await approve(name, "ask", item="shots.s", by="Ann")
    await reject(name, "ask", item="shots.m", because="too dark", by="Ann")
    _, result = await ran(studio, subject, first)
    assert result.status is FAILED
    assert "'shots.m' was rejected by Ann" in (result.node_results["ask"].error or "")
    assert "'shots.s'" not in (result.node_results["ask"].error or "")


async def test_a_list_that_was_approved_is_passed_on_as_a_list() -> None:
    studio, subject = asking()
    first, _ = await ran(studio, subject)
    await approve(run_id(first), "ask", by="Ann")
    _, result = await ran(studio, subject, first)
    assert result.status is COMPLETED
    assert [set(item) for item in result.node_results["ask"].result["result"]] == [{"write", "draw"}] * 2


async def test_a_condition_skips_a_node_of_some_items() -> None:
    subject = story("{{ shot.id }}")
    draw = subject.root_nodes[1].children[1].model_copy(update={"when": "{{ shot.text != 'moon' }}"})
    subject.root_nodes[1].children[1] = draw
    studio = Studio(shots("sun", "moon"))
    _, result = await ran(studio, subject)
    assert result.status is COMPLETED
    assert result.node_results["shots.m.draw"].status is SKIPPED
    assert [item["draw"] for item in result.node_results["shots"].result["result"]] == [
        {"text": "draw write sun"},
        None,
    ]


async def test_a_plan_with_a_list_counts_as_edited_only_when_its_file_was(folder: Path) -> None:
    (folder / "plan.json").write_text(story("{{ shot.id }}").model_dump_json())
    runner = executor(tool_registry=Studio(shots("sun"), failing="draw").registry)
    compiled = runner.compile(load_plan(folder / "plan.json").plan)
    await runner.execute_compiled(compiled, plan_file=folder / "plan.json")
    assert not (await load_report(run_id(runner))).plan_changed


@pytest.mark.parametrize("key", [None, "{{ shot.id }}"])
async def test_an_edited_node_of_an_item_runs_that_item_on(key: str | None) -> None:
    def fill(id: str, template: str, **fields: Any) -> dict[str, Any]:
        return node(
            id, parameters={"tool": "template_fill", "tool_inputs": {"template": template}}, **fields
        ).model_dump()

    children = [fill("write", "{{ shot.text }}"), fill("draw", "{{ outputs.write.text }} in ink", needs=["write"])]
    each: dict[str, Any] = {"for_each": "{{ inputs.shots }}", "as": "shot", "key": key, "children": children}
    lists = {"shots": {"type": "array", "default": shots("sun", "moon")}}
    subject = plan(node("shots", "composite", **each), inputs=lists)
    runner = executor(tool_registry=default_registry())
    await runner.execute_plan(subject)
    name = "1" if key is None else "m"
    edited = await edit(run_id(runner), f"shots.{name}.write", "a full moon", by="Ann")
    assert edited.dependents == (f"shots.{name}.draw",)
    result = await executor(tool_registry=default_registry()).execute_plan(subject, resume_from=run_id(runner))
    assert {id for id, one in result.node_results.items() if not one.reused} == {f"shots.{name}.draw", "shots"}
    drawn = [item["draw"]["text"] for item in result.node_results["shots"].result["result"]]
    assert drawn == ["sun in ink", "a full moon in ink"]
    with pytest.raises(UsageError, match="makes nothing itself, its children do; edit one of write, draw, shots"):
        await edit(run_id(runner), "shots", "[]", by="Ann")


async def test_an_item_of_a_list_is_edited_as_it_is_approved() -> None:
    studio, subject = asking()
    first, _ = await ran(studio, subject)
    await approve(run_id(first), "ask", item="shots.s", text='{"draw": {"text": "by hand"}}', by="Ann")
    await approve(run_id(first), "ask", item="shots.m", by="Ann")
    _, result = await ran(studio, subject, first)
    assert [item["draw"]["text"] for item in result.node_results["ask"].result["result"]] == [
        "by hand",
        "draw write moon",
    ]


async def test_a_list_in_a_list_names_both_items_and_goes_on_where_it_failed() -> None:
    take = say("take", "{{ shot.text }} {{ cut }}")
    each: dict[str, Any] = {"for_each": "{{ shot.cuts }}", "as": "cut", "children": [take]}
    cuts = node("cuts", "composite", **each).model_dump()
    each: dict[str, Any] = {
        "for_each": "{{ outputs.outline.shots }}",
        "as": "shot",
        "key": "{{ shot.id }}",
        "children": [cuts],
    }
    subject = plan(
        node("outline", "analyze", parameters={"tool": "outline"}),
        node("shots", "composite", needs=["outline"], **each),
    )
    made: list[Any] = [{"id": "a", "text": "sun", "cuts": ["wide", "near"]}, {"id": "b", "text": "moon", "cuts": []}]
    first, result = await ran(Studio(made, failing="near"), subject)
    assert result.node_results["shots.a.cuts.1.take"].status is FAILED
    assert result.node_results["shots"].error == "1 of 2 items completed; not completed: a"
    again = Studio(made)
    _, result = await ran(again, subject, first)
    assert again.calls == ["sun near"]
    assert result.node_results["shots"].result["result"] == [
        {"cuts": [{"take": {"text": "sun wide"}}, {"take": {"text": "sun near"}}]},
        {"cuts": []},
    ]


async def test_as_many_items_run_at_once_as_the_list_says_and_progress_never_goes_back() -> None:
    at_work, most = 0, 0
    two = asyncio.Event()

    @tool(name="say", version="1")
    async def counted(text: str) -> dict[str, str]:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == 2:
            two.set()
        await asyncio.wait_for(two.wait(), 120.0)
        await asyncio.sleep(0.02)  # in which a call too many would begin
        at_work -= 1
        return {"text": text}

    events: list[ProgressEvent] = []
    studio = Studio(shots(*"abcdefgh"))
    outline = studio.registry.get("outline")
    assert outline is not None
    runner = executor(tool_registry=ToolRegistry([outline, counted]), progress_callback=events.append)
    result = await runner.execute_plan(story(concurrency=2))
    assert result.status is COMPLETED
    assert most == 2
    percents = [event.progress_percent for event in events]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert sum(event.event_type == "node_completed" for event in events) == len(result.node_results) == 19
