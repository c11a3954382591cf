"""A record's files are part of it: verified before it is reused, put back from the store, or made again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.executors import executor, run_id
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    FileRef,
    ToolContext,
    ToolRegistry,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowPlan,
    Workspace,
    tool,
)
from vibe_prefect.engine.records import record_files
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.earlier_runs import KeptNodes, earlier_run, kept_nodes, lost_files
from vibe_prefect.engine.runs.pruning import Remains, delete
from vibe_prefect.engine.runs.run_list import read_namespace
from vibe_prefect.tools.builtin.registered import builtin_tools
from vibe_prefect.tools.provenance import write_beside

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


class Studio:
    """Tools that write down which node they worked for; what `draw` makes differs from call to call."""

    def __init__(self) -> None:
        self.worked: list[str] = []

    def registry(self) -> ToolRegistry:
        @tool(version="1")
        def draw(context: ToolContext, path: str, sidecar: bool = False) -> FileRef:
            """Draw something new each time."""
            self.worked.append(context.get("node_id", ""))
            content = f"{context.get('node_id')} {len(self.worked)} {id(self)}".encode()
            workspace = context["workspace"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
            if sidecar:
                return write_beside(workspace, path, content, None, {"plan": "p"})
            return workspace.write(path, content)

        @tool(version="1")
        def passes_on(context: ToolContext) -> dict[str, Any]:
            """Return what the dependencies returned."""
            self.worked.append(context.get("node_id", ""))
            return {"all": list((context.get("previous_outputs") or {}).values())}

        @tool(version="1")
        def bypasses(context: ToolContext, path: str) -> FileRef:
            """Write a file without the workspace's help."""
            self.worked.append(context.get("node_id", ""))
            target = context["workspace"].output_root / path  # pyright: ignore[reportTypedDictNotRequiredAccess]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.encode())
            return FileRef(path=path, mime="text/plain", sha256=sha256(path.encode()), bytes=len(path))

        return ToolRegistry([*builtin_tools(), draw, passes_on, bypasses])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def uses(id: str, name: str, needs: list[str] | None = None, **inputs: Any) -> WorkflowNode:
    return node(id, needs=needs, parameters={"tool": name, "tool_inputs": inputs})


def output(runner: WorkflowExecutor) -> Path:
    assert runner.last_run is not None
    return runner.last_run.output_root


def refs(result: ExecutionResult, id: str) -> dict[str, Any]:
    return result.node_results[id].result["result"]


async def ran(subject: WorkflowPlan, studio: Studio, **options: Any) -> tuple[WorkflowExecutor, ExecutionResult]:
    resume = options.pop("resume_from", None)
    runner = executor(None, tool_registry=studio.registry(), simulate="never", **options)
    result = await runner.execute_plan(subject, resume_from=resume)
    assert result.status == "completed", [(one.node_id, one.error) for one in result.node_results.values()]
    return runner, result


def card(title: str) -> WorkflowPlan:
    return plan(uses("card", "write_file", path="card.txt", content=title))


async def test_a_title_that_comes_back_brings_its_file_back() -> None:
    contents: list[str] = []
    for title in ("A", "B", "A", "B"):
        runner, result = await ran(card(title), Studio(), reuse="plan")
        contents.append((output(runner) / "card.txt").read_text())
        assert refs(result, "card")["sha256"] == sha256(title.encode())
    assert contents == ["A", "B", "A", "B"]


async def test_resumed_runs_bring_their_files_back_as_shared_ones_do() -> None:
    runner, _ = await ran(card("A"), Studio())
    root = run_id(runner)
    for title in ("B", "A"):
        runner, result = await ran(card(title), Studio(), resume_from=root)
    assert result.node_results["card"].reused
    assert (output(runner) / "card.txt").read_text() == "A"


def removed(target: Path) -> None:
    target.unlink()


def edited(target: Path) -> None:
    target.write_text("edited by hand")


def a_folder_is_gone(target: Path) -> None:
    shutil.rmtree(target.parent)


def as_large(target: Path) -> None:
    target.write_bytes(target.read_bytes()[::-1])


@pytest.mark.parametrize("harm", [removed, edited, a_folder_is_gone, as_large])
@pytest.mark.parametrize("copied", [True, False])
async def test_a_file_that_is_not_as_it_was_made_is_put_back_or_made_again(
    harm: Callable[[Path], None], copied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    subject = plan(uses("a", "draw", path="x/a.bin"), uses("b", "draw", path="x/b.bin"))
    first, before = await ran(subject, Studio())
    target, root = output(first) / "x/a.bin", run_id(first)
    harm(target)
    if not copied:
        shutil.rmtree(Path("records", root, "files"))
    again = Studio()
    with caplog.at_level(logging.INFO, "vibe_prefect"):
        _, after = await ran(subject, again, resume_from=root)
    assert sha256(target.read_bytes()) == refs(after, "a")["sha256"]
    assert sha256((output(first) / "x/b.bin").read_bytes()) == refs(after, "b")["sha256"]
    if copied:
        assert again.worked == []
        assert refs(after, "a") == refs(before, "a")
        assert "The file 'x/a.bin' of node 'a'" in caplog.text
        return
    assert "a" in again.worked
    assert ("b" in again.worked) == (harm is a_folder_is_gone)
    assert "is not reused, so its node runs again: its file 'x/a.bin' " in caplog.text
    assert "the records hold no copy of it" in caplog.text


async def test_another_output_folder_gets_the_files_of_reused_nodes() -> None:
    subject = plan(uses("a", "draw", path="a.bin", sidecar=True), uses("b", "passes_on", needs=["a"]))
    studio = Studio()
    await ran(subject, studio, reuse="plan", output="here")
    runner, result = await ran(subject, studio, reuse="plan", output="there")
    assert studio.worked == ["a", "b"]
    made = output(runner) / "a.bin"
    assert Path("there").resolve() in made.parents
    assert sha256(made.read_bytes()) == refs(result, "a")["sha256"]
    assert json.loads((output(runner) / "a.bin.provenance.json").read_text())["plan"] == "p"


async def test_a_node_that_makes_something_else_than_before_takes_its_dependents_along() -> None:
    subject = plan(
        uses("a", "draw", path="a.bin"),
        uses("b", "passes_on", needs=["a"]),
        uses("c", "passes_on", needs=["b"]),
        uses("d", "write_file", path="d.txt", content="same"),
        uses("e", "passes_on", needs=["d"]),
    )
    first, _ = await ran(subject, Studio())
    shutil.rmtree(Path("records", run_id(first), "files"))
    for name in ("a.bin", "d.txt"):
        (output(first) / name).unlink()
    again = Studio()
    _, after = await ran(subject, again, resume_from=run_id(first))
    assert again.worked == ["a", "b", "c"], "the output of d is the same, so e is not paid for again"
    assert refs(after, "c")["all"][0]["all"][0] == refs(after, "a")


async def test_a_passed_on_file_is_its_makers() -> None:
    subject = plan(uses("a", "draw", path="a.bin"), uses("b", "passes_on", needs=["a"]))
    runner, _ = await ran(subject, Studio())
    files = {path.name[0]: json.loads(json.loads(path.read_text())["result"])["files"] for path in records(runner)}
    assert [file["path"] for file in files["a"]] == ["a.bin"]
    assert files["b"] == []


async def test_a_refreshed_file_is_not_passed_on_as_the_old_one() -> None:
    from vibe_prefect import Choice

    subject = plan(uses("a", "draw", path="a.bin"), uses("b", "passes_on", needs=["a"]))
    first, _ = await ran(subject, Studio())
    again = Studio()
    runner = executor(None, tool_registry=again.registry(), simulate="never")
    after = await runner.execute_plan(subject, resume_from=run_id(first), choice=Choice(refresh="a"))
    assert again.worked == ["a", "b"]
    assert refs(after, "b")["all"] == [refs(after, "a")]


async def test_a_file_that_a_tool_wrote_by_itself_is_kept_too() -> None:
    subject = plan(uses("a", "bypasses", path="deep/a.txt"))
    first, _ = await ran(subject, Studio())
    (output(first) / "deep/a.txt").write_text("edited")
    again = Studio()
    await ran(subject, again, resume_from=run_id(first))
    assert again.worked == []
    assert (output(first) / "deep/a.txt").read_text() == "deep/a.txt"


def records(runner: WorkflowExecutor) -> list[Path]:
    folder = Path("records", run_id(runner))
    return [path for path in folder.iterdir() if len(path.name.rpartition("-")[2]) == 64]


def as_older_versions_wrote(runner: WorkflowExecutor) -> None:
    """Take out of the records, and of the store, what older versions did not keep."""
    shutil.rmtree(Path("records", run_id(runner), "files"))
    for path in records(runner):
        stored = json.loads(path.read_text())
        record = json.loads(stored["result"])
        del record["files"]
        path.write_text(json.dumps({**stored, "result": json.dumps(record)}))


async def test_a_record_of_an_older_version_is_reused_while_its_files_are_there_and_gets_a_copy() -> None:
    subject = plan(uses("a", "draw", path="a.bin"), uses("b", "passes_on", needs=["a"]))
    first, _ = await ran(subject, Studio())
    as_older_versions_wrote(first)
    again = Studio()
    await ran(subject, again, resume_from=run_id(first))
    assert again.worked == []
    (output(first) / "a.bin").unlink()
    await ran(subject, again, resume_from=run_id(first))
    assert again.worked == []
    assert (output(first) / "a.bin").is_file()


async def test_a_record_of_an_older_version_without_its_file_is_not_reused() -> None:
    subject = plan(uses("a", "draw", path="a.bin"))
    first, _ = await ran(subject, Studio())
    as_older_versions_wrote(first)
    (output(first) / "a.bin").unlink()
    again = Studio()
    await ran(subject, again, resume_from=run_id(first))
    assert again.worked == ["a"]


@pytest.mark.parametrize("pruned", [False, True])
async def test_imported_records_bring_their_files_or_run_again(pruned: bool) -> None:
    subject = plan(uses("a", "draw", path="a.bin"))
    studio = Studio()
    first, _ = await ran(subject, studio, checkpoint_interval=1)
    assert first.last_checkpoint_id is not None
    if pruned:
        shutil.rmtree(Path("records", run_id(first)))
    runner = executor(None, tool_registry=studio.registry(), simulate="never")
    result = await runner.execute_plan(subject, first.last_checkpoint_id)
    assert studio.worked == (["a", "a"] if pruned else ["a"])
    assert output(runner) != output(first)
    assert sha256((output(runner) / "a.bin").read_bytes()) == refs(result, "a")["sha256"]


async def test_an_unchanged_file_is_read_once_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        read.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    subject = plan(
        uses("a", "draw", path="a.bin"), uses("b", "passes_on", needs=["a"]), uses("c", "passes_on", needs=["a", "b"])
    )
    first, _ = await ran(subject, Studio())
    assert read == []
    await ran(subject, Studio(), resume_from=run_id(first))
    assert read == ["a.bin"]


async def test_a_file_of_another_node_is_not_overwritten_by_a_record() -> None:
    first, _ = await ran(plan(uses("a", "draw", path="a.bin")), Studio())
    (record,) = records(first)
    found = json.loads(json.loads(record.read_text())["result"])
    workspace = Workspace(Path.cwd(), output(first))
    store = (await open_store("records")).for_workspace(workspace)
    workspace.for_node("other").write("a.bin", b"of another")
    problem = await store.file_problem(f"{run_id(first)}/a-{'0' * 64}", found)
    assert problem is not None
    assert problem.startswith("may not write 'a.bin': node 'other' writes the file 'a.bin'")
    assert (output(first) / "a.bin").read_bytes() == b"of another"


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "link/x"])
async def test_a_record_cannot_name_a_file_outside_the_output_folder(path: str) -> None:
    first, _ = await ran(plan(uses("a", "draw", path="a.bin")), Studio())
    (output(first) / "link").symlink_to("/tmp")  # noqa: S108
    (record,) = records(first)
    found = json.loads(json.loads(record.read_text())["result"])
    found["files"][0]["path"] = path
    store = (await open_store("records")).for_workspace(Workspace(Path.cwd(), output(first)))
    problem = await store.file_problem(f"{run_id(first)}/a-{'0' * 64}", found)
    assert problem is not None
    assert "it lies outside" in problem


async def test_copies_of_files_follow_the_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "NEW_FILE", 0o640)
    first, _ = await ran(plan(uses("a", "draw", path="a.bin")), Studio())
    (copy,) = Path("records", run_id(first), "files").iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640


async def test_a_damaged_copy_is_not_taken_for_the_file() -> None:
    subject = plan(uses("a", "draw", path="a.bin"))
    first, _ = await ran(subject, Studio())
    (copy,) = Path("records", run_id(first), "files").iterdir()
    copy.write_bytes(b"damaged")
    (output(first) / "a.bin").unlink()
    again = Studio()
    _, result = await ran(subject, again, resume_from=run_id(first))
    assert again.worked == ["a"]
    assert sha256((output(first) / "a.bin").read_bytes()) == refs(result, "a")["sha256"]


async def test_a_file_over_the_limit_is_verified_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_KEPT_FILE_BYTES", "3")
    subject = plan(uses("a", "draw", path="a.bin"), uses("b", "write_file", path="b.txt", content="ok"))
    first, _ = await ran(subject, Studio())
    assert [path.read_bytes() for path in Path("records", run_id(first), "files").iterdir()] == [b"ok"]
    again = Studio()
    await ran(subject, again, resume_from=run_id(first))
    assert again.worked == []
    (output(first) / "a.bin").unlink()
    await ran(subject, again, resume_from=run_id(first))
    assert again.worked == ["a"]


async def test_a_look_ahead_says_which_records_lost_their_files_and_changes_nothing() -> None:
    subject = plan(uses("a", "draw", path="a.bin"), uses("b", "draw", path="b.bin"))
    runner, _ = await ran(subject, Studio())
    root = run_id(runner)

    async def look() -> KeptNodes:
        return await kept_nodes(runner.compile(subject), root, output(runner), "records")

    assert await look() == KeptNodes(frozenset("ab"), {})
    (output(runner) / "a.bin").unlink()
    assert await look() == KeptNodes(frozenset("ab"), {})
    assert not (output(runner) / "a.bin").exists()
    shutil.rmtree(Path("records", root, "files"))
    reason = "its file 'a.bin' is missing, and the records hold no copy of it"
    assert await look() == KeptNodes(frozenset("b"), {"a": reason})
    (output(runner) / "b.bin").write_text("edited")
    assert (await look()).lost["b"] == "its file 'b.bin' was changed, and the records hold no copy of it"


async def test_lost_files_of_a_run_are_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE", str(Path("records").resolve()))
    subject = plan(uses("w", "write_file", path="w.txt", content="x"))
    runner, _ = await ran(subject, Studio())
    assert runner.last_run is not None
    assert await lost_files(await earlier_run(str(runner.last_run.flow_run_id))) == {}
    shutil.rmtree(Path("records", run_id(runner), "files"))
    (output(runner) / "w.txt").unlink()
    assert list(await lost_files(await earlier_run(str(runner.last_run.flow_run_id)))) == ["w"]


async def test_kept_files_count_and_go_with_their_records() -> None:
    runner, _ = await ran(plan(uses("a", "write_file", path="a.txt", content="x" * 5_000)), Studio())
    folder = Path("records", run_id(runner)).resolve()
    found = read_namespace(folder)
    assert found is not None
    assert found.bytes > 5_000
    assert list(found.written) == ["a"]
    store = await open_store("records")
    (folder / "files" / "strange").mkdir()
    remains = Remains(folder.name, (), found_at(), found)
    kept = delete(store, remains)
    assert kept is not None
    assert kept.reason == "there is a folder among the files of its records"
    (folder / "files" / "strange").rmdir()
    assert delete(store, remains) is None
    assert not folder.exists()


def found_at() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
