from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.sorting import FlowRunSort

from tests.cli.command import (
    CONTROL,
    FEATURE,
    PROGRAM,
    TIMEOUT,
    TRAILER,
    Outcome,
    call,
    check,
    environment,
    node,
    write_plan,
)
from tests.deployed.api import until_now
from tests.deployed.gate import running_gate

NODES_OF_TRAILER = 17


def run(*arguments: str, cwd: Path, server: str, **extra: str) -> Outcome:
    return call("run", *arguments, cwd=cwd, extra={"PREFECT_API_URL": server} | extra)


def failing_plan(folder: Path) -> str:
    nodes = [
        check("good", "one two three"),
        check("bad", "[red]", children=[check("below", "one two three")]),
        check("after", "one two three", dependencies=["bad"]),
    ]
    return write_plan(folder, nodes, "broken", vibe="[bold]wish[/bold]")


@pytest.mark.server
def test_simulated_run_prints_plain_lines(tmp_path: Path, prefect_server: str) -> None:
    outcome = run(TRAILER, "--simulate", "--record", cwd=tmp_path, server=prefect_server)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[0] == f"plan     {TRAILER}"
    lines = outcome.lines[1:]
    assert lines[0] == "sci-fi-trailer  A cinematic science fiction trailer"
    assert lines[1] == "17 nodes in 9 groups; simulated: no tool is called, nothing is spent or written"
    assert lines[2] == f"server   {prefect_server.removesuffix('/api')}  (as the settings say)"
    assert lines[3].startswith("run      sci-fi-trailer-")
    assert lines[4] == "[  0 %] start   concept (analyze, simulated)"
    assert sum("] start " in line for line in lines) == NODES_OF_TRAILER
    assert sum("] done " in line for line in lines) == NODES_OF_TRAILER
    percents = [int(line[1:4]) for line in lines if line.startswith("[")]
    assert (percents, percents[-1]) == (sorted(percents), 100)
    assert any(line.startswith("✓ simulated run completed: 17 nodes in ") for line in lines)
    assert lines[-1].startswith(f"  {prefect_server.removesuffix('/api')}/v2/runs/flow-run/")
    assert not CONTROL.search(outcome.out)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.server
def test_json_is_one_document_and_messages_go_to_stderr(tmp_path: Path, prefect_server: str) -> None:
    outcome = run(FEATURE, "--simulate", "--record", "--json", cwd=tmp_path, server=prefect_server)
    assert outcome.code == 0
    data = outcome.json
    assert data["simulated"] is True
    assert (data["summary"]["status"], data["summary"]["completed"], data["summary"]["skipped"]) == ("completed", 6, 0)
    assert list(data["nodes"]) == ["gather", "design", "implement", "check", "document", "announce"]
    assert data["nodes"]["gather"]["result"]["simulated"] is True
    assert data["task_runs"] == {"expected": 6, "recorded": 6}
    assert (data["outputs"], data["files"]) == (None, [])
    assert data["run_url"].endswith(f"/runs/flow-run/{data['run_id']}")
    assert "simulated run completed" in outcome.err
    assert flow_run(prefect_server, data["run_id"])["name"] == data["run_name"]


def flow_run(server: str, id: str) -> Any:
    return httpx.get(f"{server}/flow_runs/{id}", timeout=30).raise_for_status().json()


@pytest.mark.server
def test_failed_nodes_are_named_and_the_exit_code_says_so(tmp_path: Path, prefect_server: str) -> None:
    plan = failing_plan(tmp_path)
    outcome = run(plan, cwd=tmp_path, server=prefect_server)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.lines[1] == "broken  [bold]wish[/bold]"
    assert any("] FAILED  bad (validate, check_text) after " in line for line in outcome.lines)
    assert sum("] skipped " in line for line in outcome.lines) == 2
    assert any(line.startswith("✗ failed: 1 of 4 nodes failed, 2 skipped in ") for line in outcome.lines)
    refused = "  the text in its inputs was refused by 'bad': 1 of 1 check failed"
    assert any(line.startswith(refused) for line in outcome.lines)
    data = run(plan, "--json", cwd=tmp_path, server=prefect_server)
    assert data.code == 1
    assert {id: item["status"] for id, item in data.json["nodes"].items()} == {
        "good": "completed",
        "bad": "failed",
        "below": "skipped",
        "after": "skipped",
    }
    assert flow_run(prefect_server, data.json["run_id"])["state_type"] == "FAILED"


@pytest.mark.server
def test_files_that_a_run_made_are_listed(tmp_path: Path, prefect_server: str) -> None:
    inputs = {"path": "notes/hello.txt", "content": "Hello"}
    tool = {"tool": "write_file", "tool_inputs": inputs}
    plan = write_plan(tmp_path, [node("w", parameters=tool)], "writes")
    outcome = run(plan, "--quiet", cwd=tmp_path, server=prefect_server)
    assert (outcome.code, outcome.err) == (0, "")
    assert not any("] done " in line for line in outcome.lines)
    listed = next(line for line in outcome.lines if line.startswith("outputs  outputs/writes/"))
    assert listed.endswith("(1 file, 5 B)")
    assert any(line.split() == ["notes/hello.txt", "5", "B"] for line in outcome.lines)
    folder = tmp_path / listed.split()[1]
    assert (folder / "notes/hello.txt").read_text(encoding="utf-8") == "Hello"


@pytest.mark.server
def test_a_reader_that_goes_away_does_not_stop_the_run(tmp_path: Path, prefect_server: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [PROGRAM, "run", FEATURE, "--simulate", "--record"],
            cwd=tmp_path,
            env=environment(tmp_path / "home", {"PREFECT_API_URL": prefect_server}),
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.server
@pytest.mark.parametrize(("number", "sender"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_the_run_cleanly_as_cancelled(
    tmp_path: Path, prefect_server: str, number: signal.Signals, sender: str
) -> None:
    with running_gate() as gate:
        (tmp_path / "held.json").write_text(json.dumps(gate.plan("held")))
        process = subprocess.Popen(
            [PROGRAM, "run", "held.json"],
            cwd=tmp_path,
            env=environment(tmp_path / "home", {"PREFECT_API_URL": prefect_server} | gate.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until_now(lambda: gate.held("held") or None, "the nodes that are held")
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT)
    named = FlowRunFilter(name=FlowRunFilterName(like_="held-"))
    with get_client(sync_client=True) as client:
        stopped = client.read_flow_runs(flow_run_filter=named, sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
    message = f"The run was stopped by {sender}, in the process that executed it."
    assert stopped.state is not None
    assert (stopped.state_name, stopped.state.message) == ("Cancelled", message)
    assert err.startswith("vibe-prefect: interrupted; ")
    assert len(err.splitlines()) == 1
    assert process.returncode == 128 + number


@pytest.mark.server
def test_signals_that_a_run_is_started_to_ignore_do_not_stop_it(tmp_path: Path, prefect_server: str) -> None:
    chain = [node(f"n{index}", dependencies=[f"n{index - 1}"] if index else []) for index in range(30)]

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = subprocess.Popen(
        [PROGRAM, "run", write_plan(tmp_path, chain, "long"), "--simulate", "--record"],
        cwd=tmp_path,
        env=environment(tmp_path / "home", {"PREFECT_API_URL": prefect_server}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore,  # noqa: PLW1509 - as nohup and a shell do for what runs in the background
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "start   n" in line:
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGINT)
        if "done    n9 " in line:
            break
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (0, "")
    assert "simulated run completed: 30 nodes" in out


def test_a_server_that_does_not_answer_is_told_in_one_line(tmp_path: Path) -> None:
    outcome = run(FEATURE, "--simulate", "--record", cwd=tmp_path, server="http://127.0.0.1:9/api")
    assert outcome.code == 3
    assert outcome.err == "vibe-prefect: error: cannot reach the Prefect server at http://127.0.0.1:9/api\n"


@pytest.mark.slow
def test_an_embedded_server_that_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    database = {"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////proc/nowhere/prefect.db"}
    outcome = call("run", FEATURE, "--simulate", "--record", cwd=tmp_path, extra=database)
    assert outcome.code == 3
    assert outcome.err.startswith("vibe-prefect: error: Prefect's embedded server did not start: ")
    assert len(outcome.err.splitlines()) == 1


def test_a_profile_with_an_api_url_is_honoured(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n', encoding="utf-8"
    )
    extra = {"PREFECT_PROFILES_PATH": str(profiles)}
    outcome = call("run", FEATURE, "--simulate", "--record", cwd=tmp_path, extra=extra)
    assert (outcome.code, "cannot reach the Prefect server at http://127.0.0.1:9/api" in outcome.err) == (3, True)


def test_simulation_needs_no_server_and_records_nothing(tmp_path: Path) -> None:
    unreachable = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    outcome = call("run", FEATURE, "--simulate", "--report", "page.html", cwd=tmp_path, extra=unreachable)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[3] == "nothing is recorded in Prefect; --record does that"
    assert outcome.lines[-2].startswith("✓ simulated run completed: 6 nodes in ")
    assert not (tmp_path / "prefect-home").exists()
    assert "simulated" in (tmp_path / "page.html").read_text()
    document = call("run", FEATURE, "--simulate", "--select", "gather", "--json", cwd=tmp_path, extra=unreachable).json
    assert (document["run_id"], document["task_runs"], document["simulated"]) == (None, None, True)
    statuses = {id: node["status"] for id, node in document["nodes"].items()}
    assert statuses.pop("gather") == "completed"
    assert set(statuses.values()) == {"skipped"}
