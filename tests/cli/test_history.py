from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.filesystems import LocalFileSystem

from tests.cli.command import CONTROL, call, half, on
from vibe_prefect.cli.reading.durations import parse_duration, short_age
from vibe_prefect.errors import UsageError


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("2w", timedelta(weeks=2)),
        ("45m", timedelta(minutes=45)),
        ("0s", timedelta(0)),
        (" 7d ", timedelta(days=7)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("1.5h", timedelta(minutes=90)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text, "--older-than") == duration


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 d", "30D", "1d 12h", "1 y", "nan", "\x1b"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a duration: write .* such as 45m, 12h, 30d or 2w"):
        parse_duration(text, "--older-than")


@pytest.mark.parametrize("text", ["999999999w", "101y", "9" * 40 + "d", "9" * 400 + "d"])
def test_a_duration_has_an_end(text: str) -> None:
    with pytest.raises(UsageError, match="more than 100 years"):
        parse_duration(text, "--older-than")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (90, "2 min"), (7200, "2 h"), (100_000, "28 h"), (864_000, "10 d")]
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert short_age(seconds) == text


def test_a_bad_duration_is_told_before_a_server_is_asked(tmp_path: Path) -> None:
    outcome = call("prune", "--older-than", "soon", cwd=tmp_path, extra={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "vibe-prefect: error: --older-than 'soon' is not a duration: write a whole number and a unit, "
        "such as 45m, 12h, 30d or 2w (s, m for minutes, h, d, w)\n"
    )


@pytest.mark.parametrize("arguments", [("prune",), ("runs", "--limit", "0"), ("runs", "extra")])
def test_bad_usage_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    outcome = call(*arguments, cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"'vibe-prefect {arguments[0]} --help' lists what there is" in outcome.err


@pytest.mark.parametrize("arguments", [("prune", "--older-than", "1d"), ("runs", "--json")])
def test_a_server_that_does_not_answer_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    outcome = call(*arguments, cwd=tmp_path, extra={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == "vibe-prefect: error: cannot reach the Prefect server at http://127.0.0.1:9/api\n"


def run_half(server: str, cwd: Path) -> tuple[str, str]:
    """Run the plan; returns the run's name and id."""
    outcome = on(server, "run", half(cwd), "--json", cwd=cwd)
    assert outcome.code == 1
    return outcome.json["run_name"], outcome.json["run_id"]


def records_of(cwd: Path) -> Path:
    return cwd / "prefect-home" / "storage" / "vibe-prefect"


@pytest.mark.server
def test_runs_are_listed_newest_first_in_columns_and_as_json(tmp_path: Path, prefect_server: str) -> None:
    name, id = run_half(prefect_server, tmp_path)
    outcome = on(prefect_server, "runs", "--limit", "1", "--json", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    (row,) = outcome.json["runs"]
    assert (row["run_name"], row["run_id"], row["record_namespace"], row["plan_id"]) == (name, id, id, "half")
    assert (row["state"], row["nodes"]) == ("Failed", {"done": 2, "total": 4})
    kept = [path for path in (records_of(tmp_path) / id).rglob("*") if path.is_file() and path.name != ".lock"]
    stored = sum(path.stat().st_size for path in kept)
    assert (row["record_bytes"], outcome.json["record_bytes"]) == (stored, stored)
    assert (row["output_bytes"], outcome.json["output_bytes"]) == (5, 5)
    assert Path(row["outputs"]).parent == tmp_path / "outputs" / "half"

    resumed = on(prefect_server, "resume", name, "--json", cwd=tmp_path)
    outcome = on(prefect_server, "runs", "--limit", "2", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    heading, second, first, empty, total = outcome.lines
    assert heading.split() == ["run", "plan", "status", "nodes", "done", "age", "records", "outputs"]
    assert second.split()[:4] == [resumed.json["run_name"], "half", "Failed", "2/4"]
    assert first.split()[:4] == [name, "half", "Failed", "2/4"]
    assert (second.endswith(" 5 B"), first.split()[-2:]) == (True, ["shared", "shared"])
    assert len({heading.index("done") + 4, second.index("2/4") + 3, first.index("2/4") + 3}) == 1
    assert (empty, total.startswith("the newest 2 runs: "), total.endswith(", 5 B of outputs")) == ("", True, True)
    assert not CONTROL.search(outcome.out)


@pytest.mark.server
def test_pruning_keeps_outputs_unless_told_otherwise(tmp_path: Path, prefect_server: str) -> None:
    name, id = run_half(prefect_server, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    outcome = on(prefect_server, "prune", "--older-than", "0s", "--outputs", "--dry-run", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert any(line.startswith(f"{name}  ") and line.endswith(" records") for line in outcome.lines)
    assert any(line.split()[:2] == ["5", "B"] and str(tmp_path / "outputs" / "half") in line for line in outcome.lines)
    assert outcome.lines[-1].startswith("would delete the records and outputs of ")
    kept = set(before) - set(tmp_path.rglob("*"))
    assert (kept, (records_of(tmp_path) / id).is_dir()) == (set(), True)

    (made,) = (tmp_path / "outputs" / "half").iterdir()
    mine = tmp_path / "outputs" / "half" / "mine"
    mine.mkdir()
    first = on(prefect_server, "prune", "--older-than", "0s", cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert first.lines[-1].startswith("deleted the records of 1 run older than 0s: ")
    assert (list(records_of(tmp_path).iterdir()), (made / "a hello.txt").exists()) == ([], True)
    second = on(prefect_server, "prune", "--older-than", "0s", "--outputs", "--json", cwd=tmp_path)
    assert second.code == 0
    (deleted,) = (item for item in second.json["deleted"] if item["record_namespace"] == id)
    assert (deleted["run_names"], deleted["record_bytes"]) == ([name], 0)
    assert deleted["outputs"] == [{"path": str(made), "bytes": 5}]
    assert list(mine.parent.iterdir()) == [mine]
    again = on(prefect_server, "runs", "--json", "--limit", "200", cwd=tmp_path)
    (row,) = (row for row in again.json["runs"] if row["run_id"] == id)
    assert (row["nodes"], row["record_bytes"], row["outputs"]) == ({"done": 2, "total": 4}, 0, None)


@pytest.mark.server
def test_only_old_records_are_pruned(tmp_path: Path, prefect_server: str) -> None:
    old, young = (records_of(tmp_path) / str(uuid4()) for _ in range(2))
    for folder, days in ((old, 40), (young, 20)):
        folder.mkdir(parents=True)
        record = folder / f"a-{'0' * 64}"
        record.write_text("{}")
        when = time.time() - days * 86_400
        os.utime(record, (when, when))
    outcome = on(prefect_server, "prune", "--older-than", "30d", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert " ".join(outcome.lines[0].split()) == f"{old.name} (no run of this server) 40 d 2 B records"
    assert outcome.lines[-1] == "deleted the records of 1 run older than 30d: 2 B"
    assert (old.exists(), young.exists()) == (False, True)
    nothing = on(prefect_server, "prune", "--older-than", "30d", cwd=tmp_path)
    assert nothing.out == "nothing to prune that is older than 30d\n"


@pytest.mark.server
async def test_records_in_a_storage_block_are_for_others_to_prune(tmp_path: Path, prefect_server: str) -> None:
    extra = {"PREFECT_API_URL": prefect_server, "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "local-file-system/pruned"}
    await LocalFileSystem(basepath=str(tmp_path / "block")).asave("pruned", overwrite=True)
    outcome = call("prune", "--older-than", "1d", cwd=tmp_path, extra=extra)
    assert (outcome.code, outcome.out) == (2, "")
    assert "records are kept in a storage block (LocalFileSystem)" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    listed = call("runs", cwd=tmp_path, extra=extra)
    assert (listed.code, listed.err) == (0, "")
