"""`vibe-prefect output`: what a run made, printed or copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import half, on


@pytest.mark.server
def test_what_a_run_made_is_listed_printed_and_copied(tmp_path: Path, prefect_server: str) -> None:
    run = on(prefect_server, "run", half(tmp_path), "--json", cwd=tmp_path).json["run_name"]

    listed = on(prefect_server, "output", cwd=tmp_path)
    assert (listed.code, listed.err) == (0, "")
    assert listed.lines == [
        "writes  1 file, 5 B    a hello.txt",
        "good    13 characters  one two three",
        "",
        "to print one, and to copy all:",
        f"  vibe-prefect output {run} writes",
        f"  vibe-prefect output {run} --to FOLDER",
    ]

    printed = on(prefect_server, "output", run, "good", cwd=tmp_path)
    assert (printed.code, printed.out) == (0, "one two three\n")

    copied = on(prefect_server, "output", run, "writes", "--to", "copies", cwd=tmp_path)
    assert (copied.code, copied.lines) == (0, ["copies/a hello.txt  5 B"])
    assert (tmp_path / "copies" / "a hello.txt").read_text() == "Hello"

    refused = on(prefect_server, "output", run, "bad", cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("vibe-prefect: error: node 'bad' has no output, it failed: ")
    assert refused.err.endswith(f"to go on: vibe-prefect resume {run}\n")
