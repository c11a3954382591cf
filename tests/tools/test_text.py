"""`read_text`, `template_fill` and `combine`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect.core.models import Vibe
from vibe_prefect.errors import OutsideRootError
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.tools import ToolContext, ToolInputError, Workspace
from vibe_prefect.tools.builtin.text_tools import combine, read_text, template_fill

CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.0.1] - 2025-02-01

- A fix.

```
## [1.0] is no heading here
```

## [1.0] - 2025-01-01 ##

### Added

- One thing.

## Older
"""


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    root = tmp_path / "in"
    (root / "docs" / "sub").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "empty").mkdir()
    files = {
        "docs/b.md": b"text b\r\nline\rend",
        "docs/a.md": b"# A\ntext a\n",
        "docs/sub/c.md": "c \u2013 ü".encode(),
        "docs/data.txt": b"data",
        "docs/[x].txt": b"brackets",
        ".hidden/h.md": b"hidden",
        "CHANGELOG.md": CHANGELOG.encode(),
        "bom.txt": b"\xef\xbb\xbfbom",
        "latin.txt": b"ok\n\xe9",
        "big.bin": b"x" * 2_000_000,
        "t.j2": b"Hi {{ name }}\n",
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
    (tmp_path / "secret.md").write_text("secret")
    (root / "link.md").symlink_to(tmp_path / "secret.md")
    (root / "outside").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return ToolContext(
        workspace=Workspace(root, tmp_path / "out"),
        vibe=Vibe(description="a wish", metadata={"k": "v"}),
        previous_outputs={"one": {"text": "first"}, "two": "second"},
        node_id="n1",
        plan_id="p1",
        node_description="what to do",
    )


async def read(context: ToolContext, **inputs: Any) -> dict[str, Any]:
    return (await read_text.execute(inputs, context)).output


async def refused(context: ToolContext, **inputs: Any) -> str:
    with pytest.raises(ToolInputError) as caught:
        await read(context, **inputs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("docs/a.md", ["docs/a.md"]),
        ("./docs/sub/../a.md", ["docs/a.md"]),
        ("docs/[x].txt", ["docs/[x].txt"]),
        ("docs/*.md", ["docs/a.md", "docs/b.md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/b.md", "docs/sub/c.md"]),
        ("docs/**", ["docs/[x].txt", "docs/a.md", "docs/b.md", "docs/data.txt", "docs/sub/c.md"]),
        ("docs", ["docs/[x].txt", "docs/a.md", "docs/b.md", "docs/data.txt", "docs/sub/c.md"]),
        ("d*/s?b", None),
        ("*/[ab].md", ["docs/a.md", "docs/b.md"]),
        (".hidden", [".hidden/h.md"]),
        (".hidden/*.md", [".hidden/h.md"]),
        ("*/h.md", None),
    ],
)
async def test_files_folders_and_globs_are_read_sorted(
    context: ToolContext, path: str, files: list[str] | None
) -> None:
    if files is None:
        assert "no file matches" in await refused(context, path=path)
    else:
        assert [file["path"] for file in (await read(context, path=path))["files"]] == files


async def test_texts_are_joined_with_their_line_ends_made_one(context: ToolContext) -> None:
    assert await read(context, path="docs/?.md", separator="--") == {
        "text": "# A\ntext a\n--text b\nline\nend",
        "files": [
            {"path": "docs/a.md", "text": "# A\ntext a\n", "bytes": 11},
            {"path": "docs/b.md", "text": "text b\nline\nend", "bytes": 16},
        ],
    }


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"path": "bom.txt"}, "bom"),
        ({"path": "latin.txt", "encoding": "latin-1"}, "ok\né"),
        ({"path": "docs/sub/c.md"}, "c \u2013 ü"),
    ],
)
async def test_bytes_become_text(context: ToolContext, inputs: dict[str, Any], text: str) -> None:
    output = await read(context, **inputs)
    assert output["text"] == text
    json.dumps(output)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.md",
        "/etc/passwd",
        "docs/../../secret.md",
        "link.md",
        "li*.md",
        "outside/secret.md",
        "outside/*.md",
        "out*/*.md",
        "**/../../*",
        "*/../../../etc/*",
        "nul\0",
    ],
)
async def test_nothing_outside_the_input_folder_is_read(context: ToolContext, path: str) -> None:
    with pytest.raises(OutsideRootError, match="may not read"):
        await read(context, path=path)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"path": "CHANGELOG.txt"}, "there is no file 'CHANGELOG.txt' in {root}; did you mean 'CHA"),
        ({"path": "no/where.md"}, "there is no file 'no/where.md' in {root}"),
        ({"path": "*.nope"}, "no file matches '*.nope' in {root}"),
        ({"path": "empty"}, "the folder 'empty' in {root} has no files"),
        ({"path": "pipe"}, "'pipe' in {root} is not a regular file"),
        ({"path": ""}, "path: "),
        ({"path": "x" * 5_000}, "path: "),
        ({"path": "x" * 500}, ""),
        ({"path": "latin.txt"}, "'latin.txt' is not utf-8 text: byte 3, in line 2, does not"),
        ({"path": "latin.txt", "encoding": "klingon"}, "encoding 'klingon': unknown encoding"),
        ({"path": "latin.txt", "encoding": "hex"}, "encoding 'hex': "),
        ({"path": "big.bin"}, "'big.bin' takes the total over max_bytes (1,000,000 bytes)"),
        ({"path": "docs/?.md", "max_bytes": 20}, "'docs/b.md' takes the total over max_bytes (20"),
        ({"path": "docs/a.md", "max_bytes": 0}, "max_bytes: "),
    ],
)
async def test_what_cannot_be_read_is_named(
    context: ToolContext, tmp_path: Path, inputs: dict[str, Any], message: str
) -> None:
    expected = message.replace("{root}", str((tmp_path / "in").resolve()))
    assert (await refused(context, **inputs)).startswith(f"read_text: {expected}")


async def test_exactly_max_bytes_may_be_read(context: ToolContext) -> None:
    assert len((await read(context, path="docs/?.md", max_bytes=27))["files"]) == 2


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("1.0.1", "- A fix.\n\n```\n## [1.0] is no heading here\n```"),
        ("1.0", "### Added\n\n- One thing."),
        ("added", "- One thing."),
        ("Unreleased", ""),
        ("older", ""),
        ("lder", ""),
    ],
)
async def test_a_section_of_a_changelog_is_taken(context: ToolContext, section: str, text: str) -> None:
    output = await read(context, path="CHANGELOG.md", section=section)
    assert output["text"] == text
    assert output["files"][0]["bytes"] == len(CHANGELOG)


async def test_a_section_reaches_over_deeper_headings(context: ToolContext) -> None:
    output = await read(context, path="CHANGELOG.md", section="Changelog")
    assert output["text"].startswith("## [Unreleased]")
    assert output["text"].endswith("## Older")


async def test_files_without_the_section_are_left_out(context: ToolContext) -> None:
    output = await read(context, path="docs/*.md", section="A")
    assert output == {
        "text": "text a",
        "files": [{"path": "docs/a.md", "text": "text a", "bytes": 11}],
    }


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"path": "CHANGELOG.md", "section": "9.9"},
            "no heading with '9.9' in 'CHANGELOG.md'; headings: 'Changelog', '[Unreleased]',",
        ),
        ({"path": "CHANGELOG.md", "section": "Odler"}, "did you mean 'Older'?"),
        ({"path": "docs/*.md", "section": "Z9"}, "no heading with 'Z9' in any of 2 files"),
        ({"path": "docs/b.md", "section": "Z9"}, "in 'docs/b.md'; there are no headings"),
    ],
)
async def test_a_section_that_is_not_there_is_an_error(
    context: ToolContext, inputs: dict[str, Any], message: str
) -> None:
    assert message in await refused(context, **inputs)


async def test_reading_needs_a_workspace() -> None:
    with pytest.raises(ToolInputError, match="read_text needs a workspace"):
        await read_text.execute({"path": "x"})


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"template": "plain"}, "plain"),
        ({"template": "{{ outputs.one.text }}-{{ outputs['two'] }}"}, "first-second"),
        ({"template": "{{ vibe.description }}, {{ vibe.metadata.k }}"}, "a wish, v"),
        ({"template": "{{ plan_id }}/{{ node_id }}: {{ description }}"}, "p1/n1: what to do"),
        ({"template": "{{ x }}", "values": {"x": ["a", 1]}}, "['a', 1]"),
        ({"template": "{{ x.y }}", "values": {"x": {"y": 3}}}, "3"),
        ({"template": "{{ description }}", "values": {"description": "mine"}}, "mine"),
        ({"template": "{% for a in [1, 2] %}{{ a }};{% endfor %}"}, "1;2;"),
        ({"template_file": "t.j2", "values": {"name": "Zoë 🚀"}}, "Hi Zoë 🚀\n"),
        ({"template": "{{ x }}", "values": {"x": "{{ 7 * 7 }}"}}, "{{ 7 * 7 }}"),
    ],
)
async def test_a_template_is_filled_in_as_text(context: ToolContext, inputs: dict[str, Any], text: str) -> None:
    assert (await template_fill.execute(inputs, context)).output == {"text": text}


@pytest.mark.parametrize(
    "template",
    [
        "{{ nowhere }}",
        "{{ outputs.three.text }}",
        "{{ vibe.nothing }}",
        "{{ vibe.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ outputs|attr('__class__') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ vibe.parse_raw('{}') }}",
        "{{ vibe.update({}) }}",
        "{{ outputs.clear() }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{{ 'a' * 10000000 }}",
        "{{ 9 ** 99 }}",
        "{% for %}",
        "{{ 1 / 0 }}",
    ],
)
async def test_a_template_cannot_reach_what_it_is_not_given(context: ToolContext, template: str) -> None:
    with pytest.raises(InvalidTemplateError):
        await template_fill.execute({"template": template}, context)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "give either `template` or `template_file`"),
        ({"template": "a", "template_file": "t.j2"}, "give either `template` or `template_file`"),
        ({"template_file": "t.j3"}, "template_file: there is no file 't.j3' in "),
        ({"template_file": "docs"}, "template_file 'docs' is a folder; name a file"),
        ({"template_file": "big.bin"}, "template_file 'big.bin' is over 1,000,000 bytes"),
    ],
)
async def test_a_template_comes_from_exactly_one_place(
    context: ToolContext, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolInputError) as caught:
        await template_fill.execute(inputs, context)
    assert str(caught.value).startswith(f"template_fill: {message}")


@pytest.mark.parametrize("path", ["../secret.md", "link.md", "/etc/passwd"])
async def test_a_template_file_lies_in_the_input_folder(context: ToolContext, path: str) -> None:
    with pytest.raises(OutsideRootError):
        await template_fill.execute({"template_file": path}, context)


@pytest.mark.parametrize(
    ("inputs", "text", "count"),
    [
        ({}, "first\n\nsecond", 2),
        ({"parts": ["a", {"text": "b", "more": 1}]}, "a\n\nb", 2),
        ({"parts": ["a", "b"], "separator": ""}, "ab", 2),
        ({"parts": [""]}, "", 1),
        ({"headings": ["One", "Two"]}, "## One\n\nfirst\n\n## Two\n\nsecond", 2),
        ({"parts": ["a"], "headings": ["H"], "heading_level": 1}, "# H\n\na", 1),
    ],
)
async def test_parts_are_joined_in_order(context: ToolContext, inputs: dict[str, Any], text: str, count: int) -> None:
    output = (await combine.execute(inputs, context)).output
    assert output == {"text": text, "count": count}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"parts": ["a", 1]}, "parts[1] has no text: it is 1 (int)"),
        ({"parts": [None]}, "parts[0] has no text: it is None (NoneType)"),
        ({"parts": [["a"]]}, "parts[0] has no text: it is ['a'] (list)"),
        ({"parts": [dict[str, str]()]}, "parts[0] has no text: it is a dict with no keys at all"),
        ({"parts": [{"x": 1, "y": 2}]}, "parts[0] has no text: it is a dict with the keys 'x', 'y'"),
        ({"parts": [{"text": 5}]}, "parts[0] has no text: it is a dict whose 'text' is 5 (int)"),
        ({"parts": ["a"], "headings": ["H", "I"]}, "2 headings for 1 parts; give one for each"),
        ({"parts": []}, "parts: "),
        ({"parts": "abc"}, "parts: "),
        ({"headings": ["H", "I"], "heading_level": 7}, "heading_level: "),
    ],
)
async def test_a_part_without_text_is_named(context: ToolContext, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        await combine.execute(inputs, context)
    assert str(caught.value).startswith(f"combine: {message}")


async def test_a_dependency_without_text_is_named() -> None:
    context = ToolContext(previous_outputs={"card": {"path": "a.png", "mime": "image/png"}})
    with pytest.raises(ToolInputError, match="dependency 'card' has no text: it is a dict with"):
        await combine.execute({}, context)


async def test_a_node_without_dependencies_has_nothing_to_combine() -> None:
    with pytest.raises(ToolInputError, match="nothing to combine"):
        await combine.execute({})
