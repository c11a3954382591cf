"""Deployed runs choose within the operator's folders; code on this machine chooses freely."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from tests.plans import node, plan
from vibe_prefect import PlanError, UsageError, run_plan
from vibe_prefect.engine.inputs.operator_roots import (
    FLOW_RUN_VARIABLE,
    OperatorRoots,
    operator_roots,
    roots_environment,
)
from vibe_prefect.engine.inputs.plan_parameter import given_plan
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.settings.package import load_settings

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"
CONTENT = "canary-4711"


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder beside the one that a worker works in."""
    outside = folder / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "plan.yaml").write_text(f"id: {CONTENT}\n")
    return outside


@pytest.fixture
def inside(folder: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a worker, with what an attacker would like to have there."""
    inside = folder / "inside"
    (inside / "texts" / "news").mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    (inside / "linked.yaml").symlink_to(outside / "plan.yaml")
    (inside / "circle").symlink_to(inside / "circle")
    monkeypatch.chdir(inside)
    return inside


def roots() -> OperatorRoots:
    return OperatorRoots(load_settings())


OUTSIDE = [
    "..",
    "/",
    "/proc/self",
    "/etc",
    "../outside",
    "../inside-too",
    "texts/../../outside",
    "link",
    "link/sub",
    "circle",
    "a\0b",
    "\ud800",
    "texts/~/../../..",
]


@pytest.mark.parametrize("name", ["input_root", "output"])
@pytest.mark.parametrize("value", OUTSIDE)
def test_a_folder_outside_the_operators_is_refused(
    inside: Path, monkeypatch: pytest.MonkeyPatch, name: Any, value: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(inside))
    with pytest.raises(UsageError, match=f"{name} .* is refused: .* {PREFIX}{name.upper()} of its worker") as caught:
        roots().folder(name, value)
    assert len(str(caught.value)) < 700


def test_a_refusal_says_the_same_of_what_is_there_and_of_what_is_not(inside: Path, outside: Path) -> None:
    there, missing = outside / "sub", outside / "sux"
    said: list[str] = []
    for path in (there, missing):
        with pytest.raises(UsageError) as caught:
            roots().folder("input_root", str(path))
        said.append(str(caught.value).replace(str(path), "PATH"))
        with pytest.raises(UsageError) as caught:
            roots().load_plan(str(path))
        said.append(str(caught.value).replace(str(path), "PATH"))
    assert said[:2] == said[2:]


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        (".", ".", "."),
        (".", "texts", "texts"),
        (".", "texts/../texts/news", "texts/news"),
        (".", "texts/not-made-yet", "texts/not-made-yet"),
        ("texts", ".", "texts"),
        ("texts", "", "texts"),
        ("texts", "texts", "texts"),
        ("texts", "texts/news", "texts/news"),
        ("link", "link/sub", "link/sub"),
    ],
)
def test_a_folder_is_the_operators_or_lies_below_it(
    inside: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}INPUT_ROOT", setting)
    assert Path(roots().folder("input_root", value)).resolve() == (inside / expected).resolve()


def test_the_forms_own_default_stands_for_the_setting(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form may have been written down where nothing was set."""
    monkeypatch.setenv(f"{PREFIX}OUTPUT", "/srv/outputs")
    assert roots().folder("output", "outputs") == "/srv/outputs"


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "../outside/plan.yaml", "linked.yaml", "link/plan.yaml", "a.\0", "/dev/zero"]
)
def test_a_plan_file_outside_the_operators_folders_is_refused(inside: Path, path: str) -> None:
    with pytest.raises(UsageError, match=f"the plan file .* is refused: .*{PREFIX}PLAN_ROOTS of its worker") as caught:
        roots().load_plan(path)
    assert CONTENT not in str(caught.value)


NO_PLANS: dict[str, tuple[str, str]] = {
    "env.env": (f"API_KEY={CONTENT}\nB: [", "not YAML (line 2"),
    "mapping.yaml": (f"{CONTENT}: {CONTENT}\n", "this is not as a plan has it (line 1, column 1)"),
    "value.yaml": (f"id: p\nsource_vibe: {CONTENT}\nroot_nodes: []\n", "this is not as a plan has it (line 2"),
    "node.yaml": (
        f"id: p\nsource_vibe: {{description: x}}\nroot_nodes:\n  - {{id: {CONTENT}, type: {CONTENT}, {CONTENT}: 1}}\n",
        "this is not as a plan has it (line 4",
    ),
    "text.yaml": (f"root:{CONTENT}:19000:0:99999\n", "this is not as a plan has it"),
    "number.yaml": (f"a: !!int {CONTENT}\n", "this is not as a plan has it (line 1"),
    "twice.yaml": (f"{CONTENT}: 1\n{CONTENT}: 2\n", "this is not as a plan has it (line 2"),
    "data.json": (f'{{"{CONTENT}": {CONTENT}}}', "not JSON (line 1"),
}


@pytest.mark.parametrize("name", NO_PLANS)
def test_what_a_file_holds_that_is_no_plan_is_not_shown(inside: Path, name: str) -> None:
    content, said = NO_PLANS[name]
    (inside / name).write_text(content)
    with pytest.raises(PlanError) as caught:
        roots().load_plan(name)
    assert said in str(caught.value)
    shown = [str(caught.value), repr(caught.value), repr(caught.value.problems)]
    assert not any(CONTENT in text for text in shown)
    assert caught.value.__cause__ is None


def test_what_is_wrong_with_a_file_that_the_operator_names_is_shown(
    inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = outside / "plan.yaml"
    monkeypatch.setenv(f"{PREFIX}PLAN_ROOTS", f".{os.pathsep}{path}")
    with pytest.raises(PlanError, match="source_vibe: missing"):
        roots().load_plan(str(path))
    with pytest.raises(UsageError, match="is refused"):
        roots().load_plan(str(outside / "other.yaml"))


@pytest.mark.parametrize("special", ["pipe", "device", "environ", "folder"])
def test_a_plan_that_is_no_regular_file_is_refused_and_not_waited_for(
    inside: Path, monkeypatch: pytest.MonkeyPatch, special: str
) -> None:
    os.mkfifo(inside / "pipe.yaml")
    path = {"pipe": "pipe.yaml", "device": "/dev/zero", "environ": "/proc/self/environ", "folder": "texts/."}[special]
    monkeypatch.setenv(f"{PREFIX}PLAN_ROOTS", "/")
    monkeypatch.setenv("CANARY", CONTENT)
    with pytest.raises(PlanError, match="cannot be read") as caught:
        roots().load_plan(path)
    assert CONTENT not in str(caught.value)


def test_what_is_set_is_written_down_for_the_processes_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert roots_environment() == {}
    odd = "/srv/a:b/plan.yaml"
    monkeypatch.setenv(f"{PREFIX}OUTPUT", "/srv/outputs")
    found = roots_environment([Path(odd)])
    assert found[f"{PREFIX}OUTPUT"] == "/srv/outputs"
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert load_settings().plan_roots == (".", odd)
    assert roots_environment() == found


def a_run(**fields: Any) -> FlowRun:
    return FlowRun(flow_id=uuid4(), **fields)


def test_deployed_runs_and_flows_within_them_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator_roots(a_run()) is None
    assert operator_roots(a_run(deployment_id=uuid4())) is not None
    assert PastRun.of(a_run()).roots is None
    assert PastRun.of(a_run(deployment_id=uuid4())).roots is not None
    assert PastRun.of(a_run(parent_task_run_id=uuid4())).roots is not None
    monkeypatch.setenv(FLOW_RUN_VARIABLE, str(uuid4()))
    assert operator_roots(a_run()) is not None


@pytest.mark.server
async def test_a_call_from_python_reads_and_writes_where_it_says(
    prefect_server: str, inside: Path, outside: Path
) -> None:
    (outside / "a.txt").write_text("hello")
    (outside / "good.json").write_text(
        plan(
            node("a", parameters={"tool": "read_text", "tool_inputs": {"path": "a.txt"}}),
            node("b", needs=["a"], parameters={"tool": "write_file", "tool_inputs": {"path": "b.txt", "content": "x"}}),
        ).model_dump_json()
    )
    call: Any = cast("Any", run_plan)
    state = await call(
        str(outside / "good.json"), input_root=str(outside), output=str(outside / "made"), return_state=True
    )
    assert state.is_completed(), state.message
    assert list((outside / "made").rglob("b.txt"))


@pytest.mark.server
@pytest.mark.parametrize(
    ("parameters", "setting"),
    [
        ({"input_root": "/"}, "INPUT_ROOT"),
        ({"output": "../outside/made"}, "OUTPUT"),
        ({"plan": "/etc/passwd"}, "PLAN_ROOTS"),
    ],
)
async def test_a_flow_within_a_deployed_run_is_refused_before_its_first_node(
    prefect_server: str, inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, parameters: Any, setting: str
) -> None:
    monkeypatch.setenv(FLOW_RUN_VARIABLE, str(uuid4()))
    write = {"tool": "write_file", "tool_inputs": {"path": "b.txt", "content": "x"}}
    given = {"plan": plan(node("a", parameters=write)), **parameters}
    state: Any = await cast("Any", run_plan)(**given, return_state=True)
    assert state.is_failed()
    assert f"{PREFIX}{setting}" in state.message
    assert not list(outside.rglob("b.txt"))
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
        with pytest.raises(UsageError, match="is refused"):
            await given_plan("/etc/passwd", client, operator_roots(run))


@pytest.mark.server
async def test_every_problem_of_a_named_plan_file_has_its_line_and_no_content(
    prefect_server: str, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compiling finds besides is there as well; the same data in the form itself are quoted."""
    monkeypatch.setenv(FLOW_RUN_VARIABLE, str(uuid4()))
    nodes = [
        f"  - {{id: a, type: {CONTENT}, description: x}}",
        f"  - {{id: b, type: generate, description: x, parameters: {{tool: {CONTENT}}}}}",
    ]
    text = "\n".join(["id: p", "source_vibe: {description: x}", "root_nodes:", *nodes])
    (inside / "odd.yaml").write_text(text)
    said: dict[str, str] = {}
    for given in ("odd.yaml", text):
        state: Any = await cast("Any", run_plan)(given, return_state=True)
        assert state.is_failed()
        said[given] = state.message
    assert "(line 4" in said["odd.yaml"]
    assert "(line 5" in said["odd.yaml"]
    assert CONTENT not in said["odd.yaml"]
    assert said[text].count(CONTENT) >= 2
