from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.plans import node, plan
from tests.reporting.outputs.test_cards import TEXT, post_report
from tests.reporting.reports import (
    done,
    hostile_report,
    large_report,
    picture,
    release_report,
    reported,
    result_of,
    written,
)
from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.html import render_html
from vibe_prefect.reporting.media import MAX_IMAGE, MAX_PLAYED, Embedder, local_files
from vibe_prefect.reporting.report import RunReport


class Page(HTMLParser):
    """The tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def with_file(path: str, mime: str = "image/png") -> RunReport:
    wanted = plan(node("a"))
    return reported(wanted, result_of(wanted, done("a", 0, 1, picture(path, mime))))


@pytest.mark.parametrize("report", [release_report(), hostile_report()], ids=["fair", "hostile"])
def test_nothing_on_the_page_acts_but_its_own_script(report: RunReport) -> None:
    page = Page(render_html(report))
    assert len(page.all("script")) == 1
    assert len(page.all("meta")) == 5
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "link", "base", "form", "img"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        address = attributes.get("href") or attributes.get("src") or "#"
        assert re.match(r"#|\./|https?://", address), address


def test_the_policy_allows_what_the_page_holds_and_nothing_else() -> None:
    policy = Page(render_html(release_report())).all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_ids_are_unique() -> None:
    ids = [found for _, attributes in Page(render_html(release_report())).tags if (found := attributes.get("id"))]
    assert len(ids) == len(set(ids))


def test_each_node_is_explained_folded_and_linked_from_its_row() -> None:
    report = release_report()
    text = render_html(report)
    page = Page(text)
    folded = [attributes for attributes in page.all("details") if attributes.get("class") == "why"]
    assert len(folded) == 7, "all but the composite, which did no work of its own"
    assert not [attributes for attributes in folded if "open" in attributes]
    links = {attributes.get("href") for attributes in page.all("a")}
    ids = {attributes.get("id") for _, attributes in page.tags}
    for id in ("facts", "draft", "check", "publish"):
        assert f"#why-{id}" in links
        assert f"why-{id}" in ids
    for words in ("quiet-fox", "openai:gpt-5", "Calm, without superlatives.", "the headline shouts", "0.50 needed"):
        assert words in text
    assert "Who and why" not in render_html(replace(report, simulated=True))


def test_explanations_that_find_no_room_are_counted() -> None:
    report = release_report()
    made = written("x" * 300_000)
    large = replace(report, nodes=tuple(replace(one, provenance=made) for one in report.nodes))
    assert "7 nodes left out: this page holds as much text as it may." in render_html(large)


def test_a_large_run_with_long_texts_stays_small() -> None:
    text = render_html(large_report(500, "<b>&" * 2_500))
    assert len(text) < 15_000_000
    assert "texts left out: this page holds as much text as it may" in text
    assert len(Page(text).all("tr")) == 501


def test_five_megabytes_of_hostile_text_are_cut() -> None:
    assert len(render_html(hostile_report(5_000_000))) < 1_000_000


def test_a_run_without_nodes_has_a_page() -> None:
    wanted = plan()
    assert "Nothing has run yet." in render_html(reported(wanted, result_of(wanted)))


def test_outputs_are_cards_each_text_once_with_its_markdown_rendered(tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text(TEXT)
    page = render_html(post_report(), {"post.md": tmp_path / "post.md"})
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections[:3] == ["failures", "outputs", "timeline"]
    assert page.count("<h4>A post</h4>\n<p>It is about <em>this</em>.</p>") == 1
    assert re.findall(r'<h3>.*?<a href="#node-(\w+)"', page) == ["bad", "cover", "post", "facts"]
    assert re.search(r'passed on by <a href="#node-check">check</a>, +<a href="#node-file">', page)
    assert "On the way: 1 output that led to these" in page


def test_composites_without_work_are_headings_in_the_table() -> None:
    page = Page(render_html(post_report()))
    rows = {row["id"]: row.get("class") for row in page.all("tr") if "id" in row}
    assert (rows["node-story"], rows["node-post"], len(rows)) == ("group", None, 7)


def test_a_list_of_objects_is_a_table() -> None:
    wanted = plan(node("a"))
    rows = [{"name": "<b>Ada</b>", "born": 1815}] * 60
    page = render_html(reported(wanted, result_of(wanted, done("a", 0, 1, rows))))
    assert page.count('<td dir="auto">&lt;b&gt;Ada&lt;/b&gt;</td><td dir="auto">1815</td>') == 50
    assert "10 more rows left out" in page


def test_a_small_picture_is_in_the_page(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "cover.png")
    report = with_file("cover.png")
    (image,) = Page(render_html(report, local_files(report, tmp_path))).all("img")
    assert (image["src"] or "").startswith("data:image/png;base64,")
    assert image["alt"] == "cover.png, made by a"


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "cover.png"
    Image.effect_noise((1_600, 1_600), 90).save(path)
    assert path.stat().st_size > MAX_IMAGE
    medium = Embedder({"cover.png": path}).medium(OutputFile("cover.png", "image/png", None, None))
    assert (medium.source or "").startswith("data:image/webp;base64,")
    assert medium.note.startswith("made smaller from 2.")


@pytest.mark.parametrize(
    ("mime", "size", "note"),
    [
        ("image/png", MAX_IMAGE + 1, "too large for this page, and not a picture that can be made smaller"),
        ("image/svg+xml", MAX_IMAGE + 1, "too large for this page"),
        ("video/mp4", MAX_PLAYED + 1, "too large for this page"),
        ("audio/mpeg", MAX_PLAYED + 1, "too large for this page"),
    ],
)
def test_what_is_too_large_is_linked_with_a_note(tmp_path: Path, mime: str, size: int, note: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    embedder = Embedder({"file": path})
    medium = embedder.medium(OutputFile("file", mime, None, size))
    assert (medium.source, medium.link) == (None, "./file")
    assert medium.note.endswith(note)
    assert embedder.left_out == 1


def test_a_full_page_takes_no_more_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 60)
    (tmp_path / "b").write_bytes(b"x" * 60)
    embedder = Embedder({name: tmp_path / name for name in "ab"}, room=100)
    first, second = (embedder.medium(OutputFile(name, "audio/mpeg", None, 60)) for name in "ab")
    assert first.source is not None
    assert (second.source, second.note) == (None, "left out: this page holds as many files as it may")


@pytest.mark.parametrize(("mime", "kind"), [("text/html", "file"), ("IMAGE/PNG; x=1", "image"), ('image/x"y', "file")])
def test_only_known_media_are_shown(tmp_path: Path, mime: str, kind: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    medium = Embedder({"f": path}).medium(OutputFile("f", mime, None, 1))
    assert medium.kind == kind
    assert (medium.source is not None) == (kind == "image")


def test_a_file_that_is_gone_is_said_to_be() -> None:
    medium = Embedder({"f": Path("/nowhere/f")}).medium(OutputFile("f", "image/png", None, 1))
    assert medium.note == "could not be read: No such file or directory"


def test_only_files_in_the_folder_are_read(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "a.png").write_text("x")
    paths = ["a.png", "../secret", "out", str(tmp_path / "secret"), "missing", "a\x00", "x" * 1_000, "."]
    wanted = plan(node("a"))
    report = reported(wanted, result_of(wanted, done("a", 0, 1, [picture(path) for path in paths])))
    assert local_files(report, root) == {"a.png": root / "a.png"}


def test_a_plan_too_large_to_be_drawn_is_shown_as_its_groups_and_with_some_of_its_outputs() -> None:
    text = render_html(large_report(1_000))
    assert "1,000 nodes in 100 groups" in text
    assert "<svg xmlns" not in text
    assert len(Page(text).all("tr")) == 1_001
    assert "500 outputs left out; <code>vibe-prefect output brave-otter NODE</code>" in text


def test_columns_in_which_no_node_has_a_value_are_left_out() -> None:
    wanted = plan(node("a"))
    text = render_html(reported(wanted, result_of(wanted, done("a", 0, 1, "text"))))
    assert re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', text) == ["Node", "Status", "Type, tool", "Duration"]
