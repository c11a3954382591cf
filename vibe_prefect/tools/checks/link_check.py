"""The tool that checks the links of a text: form, anchors, files, and over the network where that is asked for."""

from __future__ import annotations

import mimetypes
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import Field

from vibe_prefect.errors import OutsideRootError, ToolError, shorten
from vibe_prefect.text.encodings import decode_text
from vibe_prefect.tools.base import ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.checks.page_links import Link, Page, page_of, read_page
from vibe_prefect.tools.checks.verdicts import Check, Report, check, verdict
from vibe_prefect.tools.fetch.guard import FetchConfig, read_target
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool
from vibe_prefect.tools.workspace import Workspace

MAX_CHARS = 2_000_000
"""The longest text whose links are checked, in characters."""

READ_SECONDS = 10
"""Computing time that reading one document may take, in seconds."""

AT_ONCE = 8
"""Addresses that are requested at the same time."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_MAIL = re.compile(r"mailto:[^@\s,?]+@[^@\s,?]+\.[^@\s,?]+(\?.*)?", re.IGNORECASE)
_HTML = (".html", ".htm", ".xhtml")
_MARKDOWN = (".md", ".markdown")

Scheme = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*$")]


class LinksReport(Report):
    """Output of `check_links`."""

    links: list[str]
    """The links, each once, in order."""


@lru_cache(maxsize=8)
def links_tool(config: FetchConfig | None = None) -> FunctionTool:
    """Return the tool `check_links`, made once for each configuration: making it takes 6 ms.

    Args:
        config: What the operator lets it ask for; by default nothing.
    """
    allowed = config or FetchConfig()

    @tool(name="check_links", category=ToolCategory.ANALYSIS, version="1")
    async def check_links(  # noqa: PLR0913 - the tool's inputs
        context: ToolContext,
        text: Annotated[str | None, Field(max_length=MAX_CHARS, description="Markdown or HTML.")] = None,
        path: Annotated[
            str | None,
            Field(min_length=1, max_length=1_000, description="Instead: a file that this run has made."),
        ] = None,
        format: Annotated[  # noqa: A002 - an input's name
            Literal["markdown", "html"] | None, Field(description="By default told by the file's name, else Markdown.")
        ] = None,
        folder: Annotated[
            str,
            Field(max_length=1_000, description="Where relative links of `text` start, below the output folder."),
        ] = "",
        schemes: Annotated[list[Scheme], Field(description="Allowed ones.")] = ["https", "http", "mailto"],  # noqa: B006
        files: Annotated[bool, Field(description="Whether relative links must lead to files of this run.")] = True,
        anchors: Annotated[bool, Field(description="Whether `#...` must lead to a heading or an id.")] = True,
        min_links: Annotated[int, Field(ge=0, description="At least so many.")] = 0,
        network: Annotated[
            bool, Field(description="Whether web addresses are asked for; only hosts that the operator allows.")
        ] = False,
    ) -> LinksReport | ToolResult:
        """Check the links of a text: their form, anchors and files; over the network only when asked to.

        Returns:
            The report; as a failed `ToolResult` that carries it when a check did not pass.

        Raises:
            ToolInputError: There is neither text nor path, or both, or the text is too long.
            ToolError: There is no such file.
            OutsideRootError: The path leaves the output folder.
        """
        from anyio.to_thread import run_sync  # with asyncio: reading a plan and describing a tool need neither

        workspace = workspace_of(context, "check_links")
        content, base = await run_sync(_content, text, path, folder, workspace)
        html = format == "html" or (format is None and path is not None and path.lower().endswith(_HTML))
        page = await _page(content, html=html)
        reader = _Checker(workspace, base, page, tuple(schemes), files=files, anchors=anchors)
        links = page.unique()
        checks = [await run_sync(reader.check, link) for link in links]
        if network:
            checks += await _asked(reader.web, allowed)
        if min_links:
            checks.append(
                check("min_links", len(links) >= min_links, f"{len(links)} links, at least {min_links} expected")
            )
        passed = all(outcome["passed"] for outcome in checks)
        return verdict(LinksReport(passed=passed, checks=checks, links=[link.target for link in links]), checks)

    check_links.spec.examples.append({"path": "posts/blog.md"})
    return check_links


def _content(text: str | None, path: str | None, folder: str, workspace: Workspace) -> tuple[str, Path]:
    """Return the document and the folder that its links start from."""
    if (text is None) == (path is None):
        raise ToolInputError("check_links: give either text or path")
    if path is None:
        return text or "", workspace.output_path(folder)
    source = workspace.made(path)
    return _read(source, path), source.parent


def _read(source: Path, path: str) -> str:
    if source.stat().st_size > MAX_CHARS:
        raise ToolInputError(f"check_links: {path!r} has more than {MAX_CHARS:,} bytes")
    mime = mimetypes.guess_type(source.name)[0] or ""
    return decode_text(source.read_bytes(), "check_links", path, mime=mime)


async def _page(text: str, *, html: bool) -> Page:
    from vibe_prefect.templates.bounded_calls import ExceededError, call_bounded

    try:
        return page_of(await call_bounded(read_page, (text, html), READ_SECONDS))
    except ExceededError as error:
        kind = "HTML" if html else "Markdown"
        raise ToolInputError(f"check_links: to read the text as {kind} {error}; check it in parts") from None


class _Checker:
    """Checks the links of one page, one by one."""

    def __init__(  # noqa: PLR0913 - the tool's inputs
        self, workspace: Workspace, base: Path, page: Page, schemes: tuple[str, ...], *, files: bool, anchors: bool
    ) -> None:
        self.web: list[Link] = []
        self._workspace = workspace
        self._base = base
        self._page = page
        self._schemes = schemes
        self._files = files
        self._anchors = anchors
        self._pages: dict[Path, Page] = {}

    def check(self, link: Link) -> Check:
        """Check what can be checked without a network."""
        problem = self._problem(link.target)
        position = f" (line {link.line})" if link.line else ""
        return check("link", problem is None, f"{shorten(link.target, 100)}{position} {problem or 'is well formed'}")

    def _problem(self, target: str) -> str | None:
        scheme = _SCHEME.match(target)
        if not target:
            return "is empty"
        if target.startswith("//"):
            return "names no scheme; write https://"
        if scheme is not None:
            return self._scheme_problem(scheme[1].lower(), target)
        name, _, anchor = target.partition("#")
        if not name:
            return self._anchor_problem(self._page, anchor)
        return self._file_problem(unquote(name.partition("?")[0]), anchor) if self._files else None

    def _scheme_problem(self, scheme: str, target: str) -> str | None:
        if scheme not in self._schemes:
            return f"has the scheme {scheme!r}, {' or '.join(self._schemes)} expected"
        if scheme == "mailto":
            return None if _MAIL.fullmatch(target) else "is not a mail address"
        if scheme not in ("http", "https"):
            return None
        try:
            read_target(target)
        except ToolError as error:
            return f"is not a web address: {error}"
        self.web.append(Link(target, None))
        return None

    def _anchor_problem(self, page: Page, anchor: str) -> str | None:
        if not self._anchors or unquote(anchor) in {"", "top", *page.anchors}:
            return None
        return "leads to no heading or id"

    def _file_problem(self, name: str, anchor: str) -> str | None:
        root = self._workspace.output_root.resolve()
        path = root / name.lstrip("/") if name.startswith("/") else self._base / name
        try:
            target = self._workspace.output_path(str(path))
        except OutsideRootError:
            return "leads out of the output folder"
        if not target.exists():
            return "leads to no file of this run"
        if anchor and target.suffix.lower() in (*_HTML, *_MARKDOWN):
            return self._anchor_problem(self._page_of(target), anchor)
        return None

    def _page_of(self, target: Path) -> Page:
        if target not in self._pages:
            from anyio import from_thread

            html = target.suffix.lower() in _HTML
            self._pages[target] = from_thread.run(partial(_page, _read(target, target.name), html=html))
        return self._pages[target]


async def _asked(links: list[Link], config: FetchConfig) -> list[Check]:
    """Ask for web addresses; the checks are in the links' order."""
    import anyio

    from vibe_prefect.tools.fetch.http import probe

    checks: dict[str, Check] = {}
    slots = anyio.Semaphore(AT_ONCE)

    async def ask(target: str) -> None:
        async with slots:
            try:
                end = await probe(target, config)
            except ToolError as error:
                checks[target] = check("network", False, str(error))
            else:
                checks[target] = check("network", True, f"{shorten(end, 100)} answers")

    async with anyio.create_task_group() as group:
        for link in links:
            group.start_soon(ask, link.target)
    return [checks[link.target] for link in links]
