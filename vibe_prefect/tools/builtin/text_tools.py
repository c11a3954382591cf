"""The tools that read text, fill in templates and join texts."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from vibe_prefect.errors import did_you_mean, shorten
from vibe_prefect.templates.texts import template_values
from vibe_prefect.text.encodings import decode_text
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.base import InputPath, TemplateText, ToolCategory, ToolContext
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import ToolInputError, tool
from vibe_prefect.tools.workspace import Workspace

MAX_JOINED = 20_000_000
"""The longest text that joining makes, in characters."""

MAX_READ = 100_000_000
"""The most bytes that one call may be allowed to read."""

MAX_SEPARATOR = 1_000
"""Characters of what stands between joined texts."""

Separator = Annotated[str, Field(max_length=MAX_SEPARATOR, description="Stands between the parts of the joined text.")]

MAX_FILES = 10_000
"""Files that one call may match."""

DEFAULT_MAX_BYTES = 1_000_000
"""Bytes that one call reads unless its input says otherwise."""


class FileText(TypedDict):
    """One file that was read."""

    path: str
    """Relative to the input folder, with `/` between its parts."""

    text: str
    """Its text, or its section; line ends are `\\n`."""

    bytes: int
    """Size of the whole file."""


class FilesText(TypedDict):
    """Output of `read_text`."""

    text: str
    """The files' texts, joined by the separator."""

    files: list[FileText]
    """The files, sorted by path."""


class Text(TypedDict):
    """Output of `template_fill`."""

    text: str
    """The template, filled in."""


class CombinedText(TypedDict):
    """Output of `combine`."""

    text: str
    """The parts, joined by the separator."""

    count: int
    """Number of parts."""


Part = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                },
            ]
        }
    ),
]
"""Text, or a node's output that has `text`. `combine` itself checks it and names the one at fault."""


async def _content_hash(inputs: Mapping[str, Any], context: ToolContext) -> str:
    """Return a hash of the names and the bytes of the files that `read_text` would read."""
    from anyio.to_thread import run_sync  # with asyncio: reading a plan needs neither

    limit = inputs.get("max_bytes", DEFAULT_MAX_BYTES)
    return await run_sync(_hash_of, workspace_of(context, "read_text"), str(inputs["path"]), int(limit))


def _hash_of(workspace: Workspace, path: str, limit: int) -> str:
    hashed = hashlib.sha256()
    for name, content in _contents(workspace, _matching(workspace, path), limit):
        hashed.update(f"{len(name.encode())} {name} {len(content)} ".encode())
        hashed.update(content)
    return hashed.hexdigest()


@tool(name="read_text", category=ToolCategory.TEXT, version="1", content_hash=_content_hash)
def read_text(  # noqa: PLR0913 - the tool's inputs
    path: Annotated[
        InputPath,
        Field(
            min_length=1,
            max_length=1_000,
            description="A file, a folder (all files below it) or a glob such as `docs/**/*.md`, "
            "below the input folder. Hidden files are left out unless the path has a hidden part.",
        ),
    ],
    context: ToolContext,
    encoding: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=100,
            description="How the bytes become text, such as `utf-8` or `latin-1`; by default by each file's byte "
            "order mark or its own declaration (XML, HTML), else UTF-8.",
        ),
    ] = None,
    separator: Separator = "\n\n",
    max_bytes: Annotated[
        int, Field(ge=1, le=MAX_READ, description="How many bytes may be read, all files together.")
    ] = DEFAULT_MAX_BYTES,
    section: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1_000,
            description="Take only the part of each Markdown file below the first heading with "
            "this text, up to the next heading of its level. Files without it are left out.",
        ),
    ] = None,
) -> FilesText:
    """Read text files from the input folder.

    A section's heading is looked for in this order: the very same text, the text as whole words
    (`1.0` is not found in `1.0.3`), the text anywhere; case does not matter.

    Raises:
        ToolInputError: Nothing matches, a file does not decode, there are too many bytes or files,
            or no file has the section. The message names the file or the folder.
        OutsideRootError: The path leaves the input folder, also through a symbolic link.
    """
    workspace = workspace_of(context, "read_text")
    files = list(_read_all(workspace, _matching(workspace, path), encoding, max_bytes))
    if section is not None:
        files = _sections(files, section)
    return FilesText(text=_joined("read_text", [file["text"] for file in files], separator), files=files)


@tool(name="template_fill", category=ToolCategory.TEXT, version="1")
async def template_fill(
    context: ToolContext,
    template: Annotated[
        TemplateText,
        Field(
            description="A Jinja template. It can name `values`, `outputs`, `vibe`, `node_id`, "
            "`plan_id` and `description`."
        ),
    ] = "",
    template_file: Annotated[
        str | None,
        Field(description="A file below the input folder that holds the template, instead."),
    ] = None,
    values: Annotated[
        dict[str, Any] | None,
        Field(description="More names for the template; they win over the names it has otherwise."),
    ] = None,
) -> Text:
    """Fill in a sandboxed Jinja template; a name that is not defined is an error.

    Raises:
        ToolInputError: Both or neither of `template` and `template_file` are given, or the file
            cannot be read as text.
        InvalidTemplateError: A name is not defined, the sandbox refuses an operation, or the template takes too long or
            too much memory.
        OutsideRootError: The template file lies outside the input folder.
    """
    from vibe_prefect.templates.filling import fill_in  # with Jinja: describing the tool does not need it

    if bool(template) == bool(template_file):
        raise ToolInputError("template_fill: give either `template` or `template_file`")
    source = template
    if template_file:
        from anyio.to_thread import run_sync

        source = await run_sync(_template_file, workspace_of(context, "template_fill"), template_file)
    return Text(text=str(await fill_in(source, template_values(context) | (values or {}))))


@tool(name="combine", category=ToolCategory.TRANSFORM, version="1")
def combine(
    context: ToolContext,
    parts: Annotated[
        list[Part] | None,
        Field(
            min_length=1,
            description="Texts, or outputs with `text`, in order; by default the outputs of all "
            "dependencies, in the order of the dependencies.",
        ),
    ] = None,
    separator: Separator = "\n\n",
    headings: Annotated[list[str] | None, Field(description="A Markdown heading above each part, in order.")] = None,
    heading_level: Annotated[int, Field(ge=1, le=6, description="Level of the headings.")] = 2,
) -> CombinedText:
    """Join texts.

    Raises:
        ToolInputError: A part has no text, there are no parts, or their number is not that of the
            headings.
    """
    stated = [(f"parts[{index}]", value) for index, value in enumerate(parts or ())]
    labelled = _dependencies(context) if parts is None else stated
    texts = [_text_of(label, value) for label, value in labelled]
    if headings is not None:
        texts = _under_headings(texts, headings, heading_level)
    return CombinedText(text=_joined("combine", texts, separator), count=len(texts))


def _joined(tool: str, texts: list[str], separator: str) -> str:
    length = sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1)
    if length > MAX_JOINED:
        raise ToolInputError(f"{tool}: the joined text has {length:,} characters; at most {MAX_JOINED:,} are allowed")
    return separator.join(texts)


def _matching(workspace: Workspace, path: str) -> list[str]:
    """Return the files that a path stands for, relative to the input root and sorted."""
    root = workspace.input_root.resolve()
    target = workspace.input_path(path)
    if _is_file(target):
        return [target.relative_to(root).as_posix()]
    pattern = target.relative_to(root)
    matches = _files(target.rglob("*") if _is_dir(target) else _glob(root, pattern), path)
    names = {match.relative_to(root) for match in matches}
    if not any(component.startswith(".") for component in pattern.parts):
        names = {name for name in names if not any(component.startswith(".") for component in name.parts)}
    if not names:
        raise ToolInputError(f"read_text: {_nothing_found(path, target, root)}")
    return sorted(name.as_posix() for name in names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name too long for the file system: nothing there, then
        return False


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _glob(root: Path, pattern: Path) -> Iterator[Path]:
    # Before Python 3.13 a final `**` matches folders alone.
    text = f"{pattern.as_posix()}/*" if pattern.name == "**" else pattern.as_posix()
    try:
        yield from root.glob(text)
    except (NotImplementedError, OSError, ValueError, re.error) as error:
        raise ToolInputError(f"read_text: path {text!r} is not a usable glob: {error}") from error


def _files(matches: Iterable[Path], path: str) -> list[Path]:
    files: list[Path] = []
    for match in matches:
        if _is_file(match):
            files.append(match)
        if len(files) > MAX_FILES:
            raise ToolInputError(f"read_text: path {path!r} matches more than {MAX_FILES:,} files; narrow it")
    return files


def _nothing_found(path: str, target: Path, root: Path) -> str:
    if _is_dir(target):
        return f"the folder {path!r} in {root} has no files"
    if any(sign in path for sign in "*?["):
        return f"no file matches {path!r} in {root}"
    siblings = [entry.name for entry in target.parent.iterdir()] if _is_dir(target.parent) else []
    if target.name in siblings:
        return f"{path!r} in {root} is not a regular file"
    return f"there is no file {path!r} in {root}{did_you_mean(target.name, siblings)}"


def _read_all(workspace: Workspace, names: Iterable[str], encoding: str | None, max_bytes: int) -> Iterator[FileText]:
    for name, content in _contents(workspace, names, max_bytes):
        yield FileText(path=name, text=_decoded(content, "read_text", name, encoding), bytes=len(content))


def _contents(workspace: Workspace, names: Iterable[str], max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield the names of files and their bytes."""
    remaining_bytes = max_bytes
    for name in names:
        content = _content(workspace, name, remaining_bytes)
        if len(content) > remaining_bytes:
            raise ToolInputError(
                f"read_text: {name!r} takes the total over max_bytes ({max_bytes:,} bytes); "
                "narrow the path or raise max_bytes"
            )
        remaining_bytes -= len(content)
        yield name, content


def _content(workspace: Workspace, name: str, limit: int) -> bytes:
    """Return a file's bytes, one more than the limit at most, however much it grows meanwhile."""
    return read_regular(workspace.input_path(name), limit)


def _decoded(content: bytes, tool: str, name: str, encoding: str | None = None) -> str:
    """Return a file's text with line feeds alone at the ends of lines."""
    mime = mimetypes.guess_type(name)[0] or ""
    text = decode_text(content, tool, name, given=encoding, mime=mime)
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True, slots=True)
class _Heading:
    line: int
    level: int
    title: str


def _sections(files: list[FileText], heading: str) -> list[FileText]:
    cut = [(file, _section(file["text"], heading)) for file in files]
    sections = [FileText(path=file["path"], text=text, bytes=file["bytes"]) for file, text in cut if text is not None]
    if not sections:
        raise ToolInputError(f"read_text: {_no_section(files, heading)}")
    return sections


def _section(text: str, heading: str) -> str | None:
    headings = list(_headings(text))
    start = _best(headings, heading)
    if start is None:
        return None
    next_lines = (head.line for head in headings if head.line > start.line and head.level <= start.level)
    return "\n".join(text.split("\n")[start.line + 1 : next(next_lines, None)]).strip("\n")


def _best(headings: list[_Heading], heading: str) -> _Heading | None:
    folded = heading.casefold()
    words = re.compile(rf"(?<![\w.]){re.escape(folded)}(?![\w.])")
    titles = [(head.title.casefold(), head) for head in headings]
    equal = (head for title, head in titles if title == folded)
    as_words = (head for title, head in titles if words.search(title))
    anywhere = (head for title, head in titles if folded in title)
    return next(equal, None) or next(as_words, None) or next(anywhere, None)


def _headings(text: str) -> Iterator[_Heading]:
    """Yield the `#` headings outside fenced code (the underlined form is not known)."""
    fence = ""
    for number, line in enumerate(text.split("\n")):
        mark = line.lstrip(" ")[:3]
        if mark in ("```", "~~~"):
            fence = "" if fence == mark else fence or mark
        elif not fence and mark.startswith("#") and not line.startswith("    "):
            yield from _heading(number, line.strip())


def _heading(number: int, line: str) -> Iterator[_Heading]:
    title = line.lstrip("#")
    level = len(line) - len(title)
    if level <= 6 and title[:1] in ("", " ", "\t"):
        front, _, closing = title.rpartition(" ")
        yield _Heading(number, level, (title if closing.strip("#") else front).strip())


def _no_section(files: list[FileText], heading: str) -> str:
    titles = list(dict.fromkeys(head.title for file in files for head in _headings(file["text"])))
    searched = repr(files[0]["path"]) if len(files) == 1 else f"any of {len(files)} files"
    listed = ", ".join(map(repr, titles[:10])) + (", ..." if len(titles) > 10 else "")
    hint = did_you_mean(heading, titles) or (f"; headings: {listed}" if titles else "; there are no headings")
    return f"no heading with {heading!r} in {searched}{hint}"


def _template_file(workspace: Workspace, name: str) -> str:
    path = workspace.input_path(name)
    if _is_dir(path):
        raise ToolInputError(f"template_fill: template_file {name!r} is a folder; name a file")
    if not _is_file(path):
        missing = _nothing_found(name, path, workspace.input_root.resolve())
        raise ToolInputError(f"template_fill: template_file: {missing}")
    content = _content(workspace, name, DEFAULT_MAX_BYTES)
    if len(content) > DEFAULT_MAX_BYTES:
        raise ToolInputError(f"template_fill: template_file {name!r} is over {DEFAULT_MAX_BYTES:,} bytes")
    return _decoded(content, "template_fill", name)


def _dependencies(context: ToolContext) -> list[tuple[str, Any]]:
    outputs = context.get("previous_outputs", {})
    if not outputs:
        raise ToolInputError("combine: nothing to combine: give `parts`, or let the node depend on others")
    return [(f"dependency {node_id!r}", output) for node_id, output in outputs.items()]


def _text_of(label: str, value: Any) -> str:
    text: Any = cast("Mapping[str, Any]", value).get("text") if isinstance(value, Mapping) else value
    if isinstance(text, str):
        return text
    raise ToolInputError(f"combine: {label} has no text: it is {_kind(value)}")


def _kind(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{shorten(value)} ({type(value).__name__})"
    fields = cast("Mapping[Any, Any]", value)
    if "text" in fields:
        return f"a dict whose 'text' is {shorten(fields['text'])} ({type(fields['text']).__name__})"
    keys = ", ".join(repr(key) for key in fields) or "no keys at all"
    return f"a dict with {keys if not fields else f'the keys {keys}'}"


def _under_headings(texts: list[str], headings: list[str], level: int) -> list[str]:
    if len(headings) != len(texts):
        raise ToolInputError(f"combine: {len(headings)} headings for {len(texts)} parts; give one for each part")
    mark = "#" * level
    return [f"{mark} {heading}\n\n{text}" for heading, text in zip(headings, texts, strict=True)]
