"""Where a file came from: the chunk in a PNG, the sidecar beside any other file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.providers.media_server import picture
from vibe_prefect.errors import ToolError
from vibe_prefect.tools import ToolContext, Workspace
from vibe_prefect.tools.builtin.title_card import image_card
from vibe_prefect.tools.provenance import provenance_of, read_stamp, stamped, write_with_provenance

FACTS = {"plan": "p", "node": "n", "key": "k", "tool": "t", "version": "1"}


def test_a_stamped_png_shows_the_same_and_says_where_it_came_from() -> None:
    plain = picture()
    content = stamped(plain, FACTS)
    assert read_stamp(content) == FACTS
    assert read_stamp(plain) is None
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(content)) as after:
        assert before.tobytes() == after.tobytes()
        assert json.loads(after.info["vibe_prefect"]) == FACTS


def test_a_stamp_is_replaced_not_added_and_is_the_same_each_time() -> None:
    content = stamped(picture(), {"plan": "other"})
    assert stamped(content, FACTS) == stamped(picture(), FACTS)


def test_a_stamp_can_say_anything() -> None:
    facts = {"node": "Zoë 🚀 \0 \ud800"}
    assert read_stamp(stamped(picture(), facts)) == {"node": "Zoë 🚀 \0 ?"}


def test_foreign_text_chunks_stay() -> None:
    buffer = io.BytesIO()
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("prompt", "a cat")
    Image.new("RGB", (2, 2)).save(buffer, "PNG", pnginfo=info)
    with Image.open(io.BytesIO(stamped(buffer.getvalue(), FACTS))) as image:
        assert image.info["prompt"] == "a cat"


@pytest.mark.parametrize("cut", [8, 12, 30, -1, -12])
def test_a_cut_png_is_an_error(cut: int) -> None:
    with pytest.raises(ToolError, match="not a whole PNG"):
        stamped(picture()[:cut], FACTS)


def test_a_changed_png_is_an_error() -> None:
    content = bytearray(picture())
    content[20] ^= 1
    with pytest.raises(ToolError, match="chunk b'IHDR' is cut or changed"):
        stamped(bytes(content), FACTS)


def test_any_other_file_has_a_sidecar(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "out")
    ref = write_with_provenance(workspace, "a/b.mp3", b"ID3", None, FACTS)
    assert (ref["path"], ref["mime"], ref["bytes"]) == ("a/b.mp3", "audio/mpeg", 3)
    sidecar = json.loads((tmp_path / "out/a/b.mp3.provenance.json").read_text())
    assert sidecar == {**FACTS, "sha256": ref["sha256"]}
    assert (tmp_path / "out/a/b.mp3").read_bytes() == b"ID3"


def test_what_a_tool_was_not_told_is_left_out() -> None:
    assert provenance_of(ToolContext(node_id="n", key=""), "t", "1", model="m") == {
        "node": "n",
        "tool": "t",
        "version": "1",
        "model": "m",
    }


async def test_a_card_carries_it(tmp_path: Path) -> None:
    context = ToolContext(workspace=Workspace(tmp_path, tmp_path), plan_id="p", node_id="n", key="k")
    await image_card.execute({"title": "Hello"}, context)
    assert read_stamp((tmp_path / "n.png").read_bytes()) == {**FACTS, "tool": "image_card", "version": "2"}
