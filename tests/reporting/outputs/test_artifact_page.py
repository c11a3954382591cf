"""The page of a run's outputs that Prefect shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.plans import node, plan
from tests.reporting.outputs.test_cards import TEXT, post_report
from tests.reporting.outputs.test_rendered import read_by_anybody
from tests.reporting.reports import HOSTILE, done, hostile_report, picture, reported, result_of
from vibe_prefect.reporting.outputs import artifact_page
from vibe_prefect.reporting.outputs.artifact_page import MAX_CARDS, MAX_CHARACTERS, MAX_RESULT, output_page
from vibe_prefect.reporting.report import RunReport


def texts(*outputs: object) -> RunReport:
    ids = [f"n{index}" for index in range(len(outputs))]
    wanted = plan(*map(node, ids))
    return reported(
        wanted, result_of(wanted, *(done(id, 0, 1, output) for id, output in zip(ids, outputs, strict=True)))
    )


def test_the_page_shows_failures_then_results_and_says_where_each_comes_from(tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text(TEXT)
    Image.new("RGB", (64, 40), "navy").save(tmp_path / "cover.png")
    page = output_page(post_report(), {name: tmp_path / name for name in ("post.md", "cover.png")}) or ""
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        "## Failed nodes",
        "## cover",
        "## story › post",  # noqa: RUF001 - leads down, as in menus
        "### A post",
        "# On the way: 1 output",
        "## facts",
    ]
    assert "*do post* · passed on by check, file · file post.md\n\n**accepted**: it completed" in page
    assert "no gate has judged it: 'check' is completed\n\n### A post\n\nIt is about *this*." in page
    assert "![cover.png](data:image/jpeg;base64," in page


def test_a_run_that_made_nothing_has_no_page() -> None:
    assert output_page(texts(), {}) is None


def test_a_long_text_is_cut_with_the_command_that_prints_it() -> None:
    page = output_page(texts("word " * 5_000), {}) or ""
    assert (
        "*5,000 more characters left out; to have all of it:*\n\n```sh\nvibe-prefect output brave-otter n0\n```" in page
    )
    assert len(page) < MAX_RESULT + 1_000


def test_what_finds_no_room_is_named() -> None:
    page = output_page(texts(*(f"{index} {'word ' * 3_900}" for index in range(20))), {}) or ""
    assert len(page) < MAX_CHARACTERS + 10_000
    assert "*left out, since this page holds as much text as it may; to have all of it:*" in page


def test_a_page_of_many_outputs_says_how_to_list_them() -> None:
    page = output_page(texts(*(f"{index} words" for index in range(MAX_CARDS + 50))), {}) or ""
    assert page.count("\n## n") == MAX_CARDS
    assert page.endswith(
        "*50 more outputs left out; to list the results:*\n\n```sh\nvibe-prefect output brave-otter\n```\n"
    )


def test_files_that_cannot_be_shown_are_named() -> None:
    page = output_page(texts(picture("a_b.wav", "audio/wav", 2_000)), {}) or ""
    assert "*a_b.wav (audio/wav, 2.0 kB) is not shown here; to have all of it:*" in page


def test_pictures_are_small_and_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        Image.effect_noise((600, 600), 90).save(tmp_path / name)
    report = texts(picture("a.png"), picture("b.png"))
    files = {name: tmp_path / name for name in ("a.png", "b.png")}
    assert (output_page(report, files) or "").count("](data:image/jpeg;base64,") == 2
    monkeypatch.setattr(artifact_page, "MAX_IMAGES", 1)
    assert (output_page(report, files) or "").count("](data:image/jpeg;base64,") == 1
    monkeypatch.setattr(artifact_page, "MAX_IMAGE_CHARACTERS", 10)
    assert "data:image" not in (output_page(report, files) or "")


def test_hostile_texts_are_text() -> None:
    assert read_by_anybody(output_page(hostile_report(100_000), {}) or "") == []
    rows = [{text: text for text in HOSTILE}, {"b": "|\n| --- |\n<script>"}]
    assert read_by_anybody(output_page(texts(*HOSTILE, rows), {}) or "") == []
