"""Templates that would take all time or all memory: what they cost when a plan is checked, and when it runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest

from tests.exhausting import EXHAUSTING
from tests.paths import DOCS
from vibe_prefect import ExecutionStatus, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.models import NodePolicy, Vibe
from vibe_prefect.errors import PlanError
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.plan.compiler import compile_plan
from vibe_prefect.templates import filling as template_filling
from vibe_prefect.templates.bounded_helper import MAX_RESULT, MEMORY
from vibe_prefect.templates.filling import SECONDS, fill_in, fill_in_all, render_bounded
from vibe_prefect.templates.language import render
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import MAX_TOKENS, InvalidTemplateError
from vibe_prefect.templates.weight import is_light
from vibe_prefect.testing import run_offline

VALUES: dict[str, Any] = {
    "outputs": {
        "rows": [{"title": f"title {number}", "n": number, "tags": ["a", "b"]} for number in range(20_000)],
        "text": {"text": "word " * 40_000},
        "few": [{"title": "A"}, {"title": "B"}],
    },
    "x": "x" * 1_000,
    "title": "Say it",
    "flag": False,
}

ORDINARY = frozenset(
    {"format_width", "center", "indent_width", "join_self", "set_doubles", "set_doubles_list", "loop", "macro"}
    | {"macro_text", "outputs_looped", "many_expressions", "one_long_expression"}
)

MAX_CPU = 5.0
MAX_GROWTH = 500_000_000


def storm(names: Mapping[str, str]) -> list[Any]:
    return [
        pytest.param(text, id=name, marks=() if name in ORDINARY else pytest.mark.storm) for name, text in names.items()
    ]


class Usage:
    """Computing time in seconds, and growth of memory in bytes, of this process and those it started."""

    cpu = 0.0
    growth = 0


@contextmanager
def measured() -> Generator[Usage]:
    me, end, usage = psutil.Process(), Event(), Usage()
    before, begun = _memory(me), time.process_time()

    def watch() -> None:
        while not end.wait(0.01):
            usage.growth = max(usage.growth, _memory(me) - before)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield usage
    finally:
        end.set()
        thread.join()
        usage.cpu = time.process_time() - begun


def _memory(process: psutil.Process) -> int:
    total = process.memory_info().rss
    for child in process.children():
        try:
            total += child.memory_info().rss
        except psutil.Error:
            continue
    return total


def node(id: str, tool: str, inputs: dict[str, Any], *dependencies: str) -> WorkflowNode:
    parameters = {"tool": tool, "tool_inputs": inputs}
    kind = WorkflowNodeType.TRANSFORM
    return WorkflowNode(id=id, type=kind, description=id, parameters=parameters, dependencies=list(dependencies))


def plan_with(text: str, retries: int = 0) -> WorkflowPlan:
    nodes = [
        node("text", "combine", {"parts": ["word " * 40_000]}),
        node("rows", "check_json", {"data": str([[number] for number in range(20_000)])}),
        node("bad", "combine", {"parts": ["b", text]}, "text", "rows"),
        *(node(f"n{number}", "combine", {"parts": ["x"]}) for number in range(20)),
    ]
    policy = NodePolicy(retries=retries)
    return WorkflowPlan(id="exhausting", source_vibe=Vibe(description="x"), root_nodes=nodes, policy=policy)


@pytest.mark.parametrize("text", storm(EXHAUSTING))
def test_checking_a_template_evaluates_nothing(text: str) -> None:
    with measured() as usage:
        message = ""
        try:
            compile_plan(plan_with(text), tools=equipped_registry())
        except PlanError as error:
            message = str(error)
    assert message.count("\n") <= 1
    assert len(message) < 1_000
    assert usage.cpu < MAX_CPU
    assert usage.growth < MAX_GROWTH


@pytest.mark.parametrize("text", storm(EXHAUSTING))
async def test_filling_a_template_in_is_bounded_and_the_loop_goes_on(text: str) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    pulse = asyncio.create_task(beat())
    with measured() as usage:
        message = ""
        try:
            await fill_in(text, VALUES)
        except InvalidTemplateError as error:
            message = str(error)
    pulse.cancel()
    assert len(message) < 1_000
    assert beats > 20 or not message.startswith("took longer")
    assert usage.cpu < MAX_CPU  # of this process; the helper has its own bound
    assert usage.growth < MAX_GROWTH


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loop", f"took longer than {SECONDS} s, in the template '{{% for a in range(100000) %}}"),
        ("format_width", f'needs more than {MEMORY // 1_000_000} MB, in the template \'{{{{ "%1000000000d"'),
        ("outputs_looped", f"needs more than {MEMORY // 1_000_000} MB, in the template"),
    ],
)
async def test_a_node_whose_template_needs_too_much_fails_once_and_others_go_on(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    async def counted(text: str, values: Mapping[str, Any]) -> Any:
        attempts.append(text)
        return await fill_in(text, values)

    monkeypatch.setattr(template_filling, "fill_in", counted)
    plan = plan_with(EXHAUSTING[name].replace("outputs.rows", "outputs.rows.data"), retries=2)
    result = await run_offline(plan, input_root=tmp_path, output=tmp_path / "out")
    failed = result.node_results["bad"]
    assert failed.status is ExecutionStatus.FAILED
    assert failed.error is not None
    assert len(attempts) == 1
    assert failed.error.startswith(f"tool_inputs.parts[1]: {message}")
    assert {id for id, one in result.node_results.items() if one.status is ExecutionStatus.COMPLETED} == {
        *(f"n{number}" for number in range(20)),
        "text",
        "rows",
    }


async def test_a_tool_that_fills_in_templates_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_text(EXHAUSTING["macro_text"])
    for inputs in ({"template": EXHAUSTING["macro_text"]}, {"template_file": "t.j2"}):
        root = node("a", "template_fill", inputs)
        plan = WorkflowPlan(id="p", source_vibe=Vibe(description="x"), root_nodes=[root])
        result = await run_offline(plan, input_root=tmp_path, output=tmp_path / "out")
        assert str(result.node_results["a"].error).startswith(f"needs more than {MEMORY // 1_000_000} MB")


SAME = [
    "{{ outputs.few }}",
    "{{ outputs.few[0].title }}!",
    "{{ outputs.few | map(attribute='title') | join(', ') }}",
    "{% for one in outputs.few %}{{ loop.index }}. {{ one.title }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{{ {'a': [title, (1, 2.5, none, true)]} }}",
    "{{ title | replace('it', 'that') | truncate(100) }}",
    "{{ '\\ud800' }}",
    "{{ outputs.few | tojson }} {{ '<b>' | e }}",
    "{{ [1e40, 2] | first > 0 }}",
    "{% set x = 3 %}{{ x * 2 }}",
    "{{ outputs['few'][1:] | length }} of {{ outputs | length }}",
    "{{ 123456789012345678901234567890 }}",
]


@pytest.mark.parametrize("text", SAME)
async def test_a_helper_yields_what_this_process_does(text: str) -> None:
    here = render(text, VALUES)
    for found in (await render_bounded(text, VALUES), await fill_in(text, VALUES)):
        assert found == here
        assert type(found) is type(here)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ missing * 2 }}", "'missing' is undefined, in the template '{{ missing * 2 }}'"),
        ("{{ title.__class__.__mro__[0] * 2 }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ {1: 2} }}", "yields what JSON cannot hold: the key 1, in the template '{{ {1: 2} }}'"),
        ("{{ title.encode() }}", "yields what JSON cannot hold: Object of type bytes"),
        ("{{ 'é' * 1000000 ~ 'é' * 1000000 }}", f"yields more than {MAX_RESULT // 1_000_000} MB, in the template"),
        ("{{ x * 2 }}" * MAX_TOKENS, f"the template has more than {MAX_TOKENS:,} parts, in the template"),
        ("{{ 1e400 }}", "a number is too large, in the template '{{ 1e400 }}'"),
    ],
)
async def test_what_a_helper_refuses_is_the_templates_error(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplateError, match=f"^{re.escape(message)}"):
        await fill_in(text, VALUES)


async def test_a_helper_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    await render_bounded("{{ 1 * 1 }}", {})
    for child in psutil.Process().children():
        if child.status() != psutil.STATUS_ZOMBIE:
            assert "OPENAI_API_KEY" not in child.environ()


async def test_a_helper_that_was_ended_is_replaced() -> None:
    assert await render_bounded("{{ 6 * 7 }}", {}) == 42
    helpers = _helpers()
    assert helpers
    for helper in helpers[:1]:
        os.kill(helper.pid, signal.SIGKILL)
    assert await render_bounded("{{ 6 * 7 }}", {}) == 42
    assert all(helper.status() != psutil.STATUS_ZOMBIE for helper in _helpers())


async def test_a_template_ends_with_the_task_that_fills_it_in() -> None:
    before = {helper.pid for helper in _helpers()}
    task = asyncio.create_task(fill_in_all([EXHAUSTING["loop"]], VALUES))
    begun = asyncio.get_running_loop().time()
    busy: list[psutil.Process] = []
    while not busy and asyncio.get_running_loop().time() < begun + 60:
        await asyncio.sleep(0.01)
        busy = [helper for helper in _helpers() if sum(helper.cpu_times()[:2]) > 0.2 or helper.pid not in before]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while {helper.pid for helper in busy} & {helper.pid for helper in _helpers()}:
        assert asyncio.get_running_loop().time() < begun + 120
        await asyncio.sleep(0.01)
    assert await fill_in("{{ 2 * 21 }}", {}) == 42


async def test_many_templates_are_filled_in_at_the_same_time() -> None:
    texts = [f"{{{{ {number} * 2 }}}}" for number in range(200)]
    assert await asyncio.gather(*(fill_in(text, {}) for text in texts)) == [number * 2 for number in range(200)]


@pytest.mark.parametrize(
    ("text", "light"),
    [
        ("{{ outputs.text.text }}", True),
        ("{{ outputs.rows }}\n", True),
        ("# {{ title }}\n\n{{ x | trim }} {{ outputs.few[0].title | upper }}", True),
        ("{% if flag %}{{ x }}{% elif title == 'a' %}b{% else %}{{ outputs.few | length }}{% endif %}", True),
        ("{% for one in outputs.few %}- {{ one.title }} ({{ loop.index }})\n{% endfor %}", True),
        ("{{ outputs.few | tojson }}{{ outputs.few | join(', ') }}{{ missing | default('d') }}", True),
        ("{{ title if flag else x[:100] }}{{ title ~ '.' }}{{ 1 + 2 - 3 }}{{ flag is not none }}", True),
        ("{{ title in ['a', 'b'] }}", True),
        ("{{ outputs.rows }}.", False),
        ("{% for one in outputs.rows %}{{ one.title }}{% endfor %}", False),
        ("{% for one in outputs.few %}{{ outputs.text.text }}{{ outputs.text.text }}{% endfor %}", False),
        ("{% for one in outputs.few %}{% for two in outputs.few %}{% endfor %}{% endfor %}", False),
        ("{% for one in outputs.few recursive %}{{ loop(outputs.few) }}{% endfor %}", False),
        ("{{ x | tojson | tojson }}", False),
        ("{{ [x] | string }}", False),
        ("{{ x | join('123456789') }}", False),
        ("{{ x * 2 }}", False),
        ("{{ x.center(9) }}", False),
        ("{{ x | center(9) }}", False),
        ("{{ '%9d' % 1 }}", False),
        ("{% set y = x %}{{ y }}", False),
        ("{{ x }}" * 501, False),
    ],
)
def test_what_is_light(text: str, light: bool) -> None:
    assert is_light(text, VALUES) is light


def test_reading_a_template_is_bounded_by_its_parts() -> None:
    references("{{ x }}" * (MAX_TOKENS // 3))
    with pytest.raises(InvalidTemplateError, match=f"^the template has more than {MAX_TOKENS:,} parts"):
        references("{{ x }}" * MAX_TOKENS)


def test_the_docs_state_the_bounds() -> None:
    text = " ".join((DOCS / "plans.md").read_text().split())
    assert f"may take {SECONDS} s of computing time and {MEMORY // 1_000_000} MB of memory" in text
    assert f"yield {MAX_RESULT // 1_000_000} MB" in text
    assert f"{MAX_TOKENS:,} parts" in text


def _helpers() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        try:
            if any("bounded_helper" in part for part in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found
