"""How bytes become text: marks, headers, declarations."""

from __future__ import annotations

import codecs
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.loopback import serving
from tests.tools.test_http import Site
from vibe_prefect.errors import ToolError
from vibe_prefect.text.encodings import EncodingError, decode_text
from vibe_prefect.tools import ToolContext, ToolInputError, Workspace
from vibe_prefect.tools.builtin.text_tools import read_text, template_fill
from vibe_prefect.tools.checks.link_check import links_tool
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.fetch.http import fetch_tool

FEED = '<?xml version="1.0" encoding="{}"?><rss><title>Café</title></rss>'
PAGE = "<!doctype html><html><head>{}</head><body>Café — “zwölf”</body></html>"
RSS, HTML, XHTML = "application/rss+xml", "text/html", "application/xhtml+xml"


def feed(label: str, codec: str) -> bytes:
    return FEED.format(label).encode(codec)


def page(head: str, codec: str) -> bytes:
    return PAGE.format(head).encode(codec)


@pytest.mark.parametrize(
    ("content", "charset", "mime", "holds"),
    [
        (feed("ISO-8859-1", "latin-1"), None, RSS, "Café"),
        (feed("iso-8859-1", "latin-1"), None, "text/plain", "Café"),
        (b"\n " + feed("iso-8859-15", "latin-1"), None, RSS, "Café"),
        (feed("ISO-8859-1", "utf-8"), "utf-8", RSS, "Café"),  # the header comes before the declaration
        (feed("ISO-8859-1", "utf-8-sig"), "latin-1", RSS, "Café"),  # and the mark before both
        (feed("ISO-8859-1", "latin-1"), "utf-8", RSS, "Café"),  # unless the bytes contradict it
        (feed("utf-16", "utf-8"), None, RSS, "Café"),  # what programs write that had it in memory
        (feed("utf-16", "utf-16"), None, RSS, "Café"),
        (feed("utf-16", "utf-16-le"), None, RSS, "Café"),
        (feed("utf-16", "utf-16-be"), None, RSS, "Café"),
        (feed("utf-16", "utf-16-be"), "utf-16", RSS, "Café"),
        (feed("utf-32", "utf-32"), None, RSS, "Café"),
        (feed("klingon", "utf-8"), None, RSS, "Café"),
        ("<?xml version='1.0' encoding='windows-1251'?><t>При</t>".encode("cp1251"), None, "text/xml", "При"),
        ("<?xml version='1.0' encoding='EUC-JP' standalone='yes'?><t>日本</t>".encode("euc-jp"), None, RSS, "日本"),
        ("<t encoding='latin-1'>Café</t>".encode(), None, RSS, "Café"),
        (page('<meta charset="iso-8859-1">', "cp1252"), None, HTML, "“zwölf”"),
        (page("<META CHARSET = windows-1252 />", "cp1252"), None, HTML, "“zwölf”"),
        (page('<meta charset="iso-8859-1">', "cp1252"), None, "", "“zwölf”"),
        (
            page('<meta content="text/html; charset=windows-1252" http-equiv="Content-Type">', "cp1252"),
            None,
            HTML,
            "“zwölf”",
        ),
        (page('<meta name="x" content="charset=cp037">', "utf-8"), None, HTML, "“zwölf”"),
        (page('<!-- <meta charset="cp037"> -->', "utf-8"), None, HTML, "“zwölf”"),
        (page('<meta charset="utf-16">', "utf-8"), None, HTML, "“zwölf”"),
        (page('<meta charset="latin-1">', "utf-8"), "utf-8", HTML, "“zwölf”"),
        (page("", "cp1252"), "ISO-8859-1", HTML, "“zwölf”"),
        (page("", "utf-8"), "utf8mb4", HTML, "“zwölf”"),
        (page("", "utf-8"), "no such thing", HTML, "“zwölf”"),
        (page("", "utf-8"), "a\0b", HTML, "“zwölf”"),
        (page("", "utf-8"), "é", HTML, "“zwölf”"),
        (page("", "utf-8"), "hex", HTML, "“zwölf”"),
        (page("", "utf-8"), "unicode_escape", HTML, "“zwölf”"),
        (page("", "utf-8"), "", HTML, "“zwölf”"),
        (b"a \x81 b", "latin-1", HTML, "a \x81 b"),  # windows-1252 leaves it open
        (b'<?xml version="1.0" encoding="latin1"?>\x93', None, XHTML, "\x93"),  # XML means it by the letter
        ('Put `<meta charset="latin-1">` — first'.encode(), None, "text/markdown", "` — first"),
        ("Café".encode("latin-1"), "latin-1", "text/plain", "Café"),
        ("中文".encode("gb18030"), "GB2312", "text/plain", "中文"),
        ("한국".encode("cp949"), "ks_c_5601-1987", "text/plain", "한국"),
        ('{"a": "é"}'.encode(), "latin-1", "application/json", '"é"'),  # JSON knows no charset
        ('{"a": "é"}'.encode("latin-1"), "latin-1", "application/json", '"é"'),
        ('{"a": "é"}'.encode("utf-16-le"), None, "application/ld+json", '"é"'),
        ('[{"<?xml encoding=": "é"}]'.encode(), None, "application/json", '"é"'),
        (b"", "utf-16", HTML, ""),
    ],
)
def test_a_document_is_read_as_its_mark_its_header_or_itself_says(
    content: bytes, charset: str | None, mime: str, holds: str
) -> None:
    text = decode_text(content, "test", "it", charset=charset, mime=mime)
    assert holds in text
    assert not text.startswith("\ufeff")


@pytest.mark.parametrize(
    ("content", "given", "text"),
    [
        (b"\x93a\x94", "windows-1252", "“a”"),
        (b"\x93a\x94", "iso-8859-1", "\x93a\x94"),  # an author's word is taken by the letter
        ("a".encode("utf-16-be"), "utf-16", "a"),
        (codecs.BOM_UTF8 + "é".encode(), "latin-1", "é"),
        (codecs.BOM_UTF16_LE + "é".encode("utf-16-le"), "utf-8", "é"),
        (feed("utf-8", "latin-1"), "latin-1", FEED.format("utf-8")),
    ],
)
def test_what_the_author_says_comes_before_header_and_declaration(content: bytes, given: str, text: str) -> None:
    assert decode_text(content, "test", "it", given=given, charset="utf-8", mime=RSS) == text


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"ok\n\xff\xd8\xff\xe0\0\x10", {}, "test: 'it' is not utf-8 text: byte 3, in line 2, does not decode"),
        (b"\xff", {"charset": "us-ascii", "mime": RSS}, "test: 'it' is not ascii text: byte 0"),
        (b"\xff\xfe\x00", {}, "test: 'it' is not utf-16-le text: "),
        (b"\xff", {"given": "utf-8"}, "give its `encoding` if it is text at all"),
        (b"a", {"given": "klingon"}, "test: encoding 'klingon': unknown encoding; name one such as"),
        (b"a", {"given": "hex"}, "encoding 'hex': unknown encoding"),
        (b"a", {"given": "idna"}, "encoding 'idna': unknown encoding"),
        (b"a", {"given": "a\0b"}, "unknown encoding"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(content: bytes, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EncodingError) as caught:
        decode_text(content, "test", "it", **options)
    assert message in str(caught.value)


@given(
    st.one_of(st.binary(max_size=60), st.binary(max_size=20).map(lambda tail: b'<?xml encoding="utf-7"?>' + tail)),
    st.one_of(st.none(), st.text(max_size=12)),
    st.sampled_from(["", RSS, HTML, "application/json", "text/plain"]),
)
def test_no_bytes_and_no_label_raise_another_error(content: bytes, charset: str | None, mime: str) -> None:
    for options in ({"charset": charset}, {"given": charset}):
        with suppress(EncodingError):
            assert isinstance(decode_text(content, "test", "it", mime=mime, **options), str)


async def test_fetch_reads_a_feed_by_its_declaration_and_a_text_as_told(tmp_path: Path) -> None:
    site = Site()
    context = ToolContext(workspace=Workspace(tmp_path / "in", tmp_path / "out"))
    with serving(site) as site.port:
        here = (f"127.0.0.1:{site.port}",)
        tool = fetch_tool(FetchConfig(allow=here, allow_private=here))
        declared = await tool.execute({"url": site.put("/a", feed("latin-1", "latin-1"), content_type=RSS)}, context)
        url = site.put("/b", b"\x93a\x94", content_type="text/plain; charset=utf-8")
        told = await tool.execute({"url": url, "encoding": "cp1252"}, context)
        with pytest.raises(ToolError, match=r"fetch: 'http://.*/b' is not utf-8 text: byte 0, in line 1") as caught:
            await tool.execute({"url": url}, context)
    assert "Café" in declared.output["text"]
    assert told.output["text"] == "“a”"
    assert not caught.value.retryable


async def test_every_reader_of_files_obeys_marks_and_declarations(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "in", tmp_path / "out")
    context = ToolContext(workspace=workspace)
    for folder in (workspace.input_root, workspace.output_root):
        folder.mkdir()
    (workspace.input_root / "a.xml").write_bytes(feed("latin-1", "latin-1"))
    (workspace.input_root / "b.txt").write_bytes("Zwölf\r\n".encode("utf-16"))
    (workspace.input_root / "c.html").write_bytes('<meta charset="cp1252"><p>“c”'.encode("cp1252"))
    (workspace.output_root / "c.html").write_bytes(
        '<meta charset="cp1252"><h1 id="ä">x</h1><a href="#ä">y</a>'.encode("cp1252")
    )
    read = await read_text.execute({"path": "*", "separator": "|"}, context)
    assert read.output["text"] == f'{FEED.format("latin-1")}|Zwölf\n|<meta charset="cp1252"><p>“c”'
    filled = await template_fill.execute({"template_file": "b.txt"}, context)
    assert filled.output == {"text": "Zwölf\n"}
    links = await links_tool().execute({"path": "c.html", "min_links": 1}, context)
    assert links.error is None
    (workspace.output_root / "c.html").write_bytes(b"\xff\xd8")
    with pytest.raises(ToolInputError, match=r"check_links: 'c.html' is not utf-8 text"):
        await links_tool().execute({"path": "c.html"}, context)
