"""`vibe-prefect report`, and `--report` of run and resume."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Running

from tests.cli.command import PROGRAM, TIMEOUT, Outcome, call, environment, half, node, on, write_plan
from tests.cli.elsewhere import gated_run, newest_gated, open_gates
from vibe_prefect.cli.app import with_report
from vibe_prefect.engine.flow import run_plan

NOWHERE = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}


def links(page: Path) -> list[Path]:
    """Return the local files that a page links to."""
    found = re.findall(r'href="([^"#]+\.txt)"', page.read_text(encoding="utf-8"))
    return [page.parent / link.replace("%20", " ") for link in found]


def words_of(page: Path) -> str:
    """Return what a page says, without its markup, style and script."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["run", "p.yaml", "--report"], ["run", "p.yaml", "--report=."]),
        (["run", "--report", "p.yaml"], ["run", "--report=.", "p.yaml"]),
        (["run", "--report", "p.HTML", "p.yaml"], ["run", "--report", "p.HTML", "p.yaml"]),
        (["run", "p.yaml", "--report", "-q"], ["run", "p.yaml", "--report=.", "-q"]),
        (["run", "p.yaml", "--report=page"], ["run", "p.yaml", "--report=page"]),
        (["report", "x"], ["report", "x"]),
        ([], []),
    ],
)
def test_only_a_pages_name_is_the_value_of_report(given: list[str], understood: list[str]) -> None:
    assert with_report(given) == understood


@pytest.mark.parametrize("arguments", [("report", "-o"), ("run", "plan.json", "--report=")])
def test_a_place_that_no_page_fits_is_told_before_anything_runs(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    *command, last = arguments

    def outcome(place: str) -> Outcome:
        given = [*command, f"{last}{place}"] if last.endswith("=") else [*arguments, place]
        return call(*given, cwd=tmp_path, extra=NOWHERE)

    folder, below = outcome("folder"), outcome("file/page.html")
    assert (folder.code, below.code) == (2, 2)
    assert "the report 'folder' is a folder; name a file in it, such as 'folder/run.html'" in folder.err
    assert "the report 'file/page.html' cannot be written: 'file' is not a folder" in below.err


@pytest.mark.server
def test_a_failed_run_leaves_its_page_and_one_can_be_made_later(tmp_path: Path, prefect_server: str) -> None:
    ran = on(prefect_server, "run", half(tmp_path), "--json", "--report", "pages/first.html", cwd=tmp_path)
    name = ran.json["run_name"]
    assert ran.code == 1
    first = tmp_path / "pages" / "first.html"
    assert f"report   pages/first.html  ({first.stat().st_size / 1000:.1f} kB)" in ran.err
    later = on(prefect_server, "report", name, cwd=tmp_path)
    assert (later.code, later.err) == (0, "")
    second = tmp_path / f"{name}.html"
    assert later.lines == [f"report   {name}.html  ({second.stat().st_size / 1000:.1f} kB)"]
    data = on(prefect_server, "report", name, "--json", cwd=tmp_path)
    assert (data.err, data.json["run_id"], data.json["status"]) == ("", ran.json["run_id"], "failed")
    for page in (first, second):
        text = words_of(page)
        assert "✗ Failed" in text
        assert "4 nodes: 1 failed, 1 skipped, 2 completed" in text
        assert "at least 3 expected" in text
        assert f"vibe-prefect resume {name}" in text
        assert {file.read_text(encoding="utf-8") for file in links(page)} == {"Hello"}
    resumed = on(prefect_server, "resume", name, "--quiet", "--report", cwd=tmp_path)
    assert resumed.code == 1
    (line,) = [line for line in resumed.lines if line.startswith("report   half-")]
    assert "4 nodes: 1 failed" in words_of(tmp_path / line.split()[1])


@pytest.mark.server
def test_an_interrupted_run_leaves_its_page(tmp_path: Path, prefect_server: str) -> None:
    chain = [node(f"n{index}", dependencies=[f"n{index - 1}"] if index else []) for index in range(200)]
    process = subprocess.Popen(
        [PROGRAM, "run", write_plan(tmp_path, chain, "long"), "--simulate", "--record", "--report", "page.html"],
        cwd=tmp_path,
        env=environment(tmp_path / "home", {"PREFECT_API_URL": prefect_server}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("done    n0 " in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert "report   page.html  (" in out
    text = words_of(tmp_path / "page.html")
    assert re.search(r"✗ Cancelled \(simulated\) .* 200 nodes: \d+ pending, \d+ completed", text)


@pytest.mark.server
def test_a_run_that_goes_on_and_one_that_was_killed_are_shown_as_far_as_they_are(
    tmp_path: Path, prefect_server: str
) -> None:
    with gated_run(tmp_path, prefect_server, home="prefect-home") as run:
        name = newest_gated().name
        open_gates(tmp_path, "n0")
        watched = subprocess.Popen(
            [PROGRAM, "watch", name],
            cwd=tmp_path,
            env=environment(tmp_path / "prefect-home", {"PREFECT_API_URL": prefect_server, "PYTHONUNBUFFERED": "1"}),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watched.stdout is not None
        assert any("start   n1" in line for line in watched.stdout)
        watched.kill()
        watched.communicate()
        goes_on = on(prefect_server, "report", name, "-o", "on.html", cwd=tmp_path)
        run.kill()
        run.wait()
        killed = on(prefect_server, "report", name, "-o", "killed.html", cwd=tmp_path)
    assert (goes_on.code, killed.code) == (0, 0)
    for page in ("on.html", "killed.html"):
        text = words_of(tmp_path / page)
        assert "▶ Running" in text
        assert "3 nodes: 1 running, 1 pending, 1 completed" in text
        assert "made by n0" in text


@pytest.mark.server
def test_a_plan_with_tools_that_are_not_here_is_shown_all_the_same(tmp_path: Path, prefect_server: str) -> None:
    strange = {
        "id": "far",
        "source_vibe": {"description": "w"},
        "root_nodes": [node("a", parameters={"tool": "alien"})],
    }
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(run_plan, name="far-off", parameters={"plan": strange}, state=Running())
    outcome = on(prefect_server, "report", str(run.id), cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    text = words_of(tmp_path / "far-off.html")
    assert "1 node: 1 pending" in text
    assert "alien" in text


@pytest.mark.server
def test_a_runs_name_makes_no_path(tmp_path: Path, prefect_server: str) -> None:
    strange = {"id": "far", "source_vibe": {"description": "w"}, "root_nodes": [node("a")]}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(run_plan, name="../../up <b>", parameters={"plan": strange})
    outcome = on(prefect_server, "report", str(run.id), cwd=tmp_path)
    assert outcome.code == 0
    assert [page.name for page in tmp_path.glob("*.html")] == ["_._.._up__b_.html"]


@pytest.mark.server
def test_a_run_without_a_plan_is_told(tmp_path: Path, prefect_server: str) -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(run_plan, parameters={"plan": "stored"})
    outcome = on(prefect_server, "report", str(run.id), cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"the run {run.name!r} has no plan among its parameters; it is" in outcome.err
    assert not list(tmp_path.glob("*.html"))
