"""`check_links`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.providers.loopback import serving
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.checks.link_check import links_tool
from vibe_prefect.tools.fetch.guard import FetchConfig


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    workspace = Workspace(tmp_path / "in", tmp_path / "out")
    workspace.write("posts/other.md", b"# First part\n\n## First part\n\n<a id='spot'></a>\n")
    workspace.write("posts/my file.html", b"<h1 id=top1>x</h1>")
    workspace.write("root.png", b"x")
    return ToolContext(workspace=workspace)


async def check(context: ToolContext, config: FetchConfig | None = None, **inputs: Any) -> ToolResult:
    return await links_tool(config).execute(inputs, context)


GOOD = """
# A title, *with* `code`!

[web](https://example.org/a?b=c%20d#e "title") <https://example.org> [mail](mailto:a@example.org)
[same](#a-title-with-code) [top](#top) [other](other.md) [part](other.md#first-part-1) [spot](other.md#spot)
[spaced](<my file.html#top1>) [root](/root.png) ![up](../root.png) [ref]

<a href="other.md" id="here">x</a> [here](#here)

[ref]: https://example.net/

```
[not a link](nowhere.md)
```
"""


async def test_links_that_are_right_pass(context: ToolContext) -> None:
    result = await check(context, text=GOOD, folder="posts", min_links=5)
    assert result.error is None
    assert result.output["links"] == [
        "https://example.org/a?b=c%20d#e",
        "https://example.org",
        "mailto:a@example.org",
        "#a-title-with-code",
        "#top",
        "other.md",
        "other.md#first-part-1",
        "other.md#spot",
        "my%20file.html#top1",
        "/root.png",
        "../root.png",
        "https://example.net/",
        "#here",
    ]
    assert result.metadata["quality"] == 1.0


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("", "is empty"),
        ("TODO", "leads to no file of this run"),
        ("#nowhere", "leads to no heading or id"),
        ("other.md#nowhere", "leads to no heading or id"),
        ("../../secret", "leads out of the output folder"),
        ("/../secret", "leads out of the output folder"),
        ("%2e%2e/%2e%2e/secret", "leads out of the output folder"),
        ("javascript:alert(1)", "has the scheme 'javascript', https or http or mailto expected"),
        ("JavaScript:alert(1)", "has the scheme 'javascript'"),
        ("data:text/html,x", "has the scheme 'data'"),
        ("//example.org/x", "names no scheme"),
        ("https://", "is not a web address"),
        ("https://exa_mple..org/", "is not a web address"),
        ("https://user@example.org/", "is not a web address"),
        ("mailto:nobody", "is not a mail address"),
    ],
)
@pytest.mark.parametrize("form", ["[x]({})", '<p>\n<a href="{}">x</a>', "![x]({})"])
async def test_a_link_that_is_wrong_is_named_with_its_line(
    context: ToolContext, link: str, problem: str, form: str
) -> None:
    result = await check(context, text="# Title\n\n" + form.format(link), folder="posts")
    assert not result.success
    assert problem in str(result.error)
    assert "(line 4)" in str(result.error) if form.startswith("<p>") else "(line 3)" in str(result.error)


async def test_a_file_is_read_by_its_kind(context: ToolContext) -> None:
    workspace = context.get("workspace")
    assert workspace is not None
    workspace.write("posts/page.html", b'<a href="other.md">x</a>\n<img src="none.png"> [x](y)')
    result = await check(context, path="posts/page.html")
    assert str(result.error) == "1 of 2 checks failed: link: 'none.png' (line 2) leads to no file of this run"
    assert (await check(context, path="posts/page.html", format="markdown")).output["links"][-1] == "y"
    assert (await check(context, path="posts/page.html", files=False)).success


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, ToolInputError, "give either text or path"),
        ({"text": "x", "path": "root.png"}, ToolInputError, "give either text or path"),
        ({"path": "none.md"}, ToolError, "no file 'none.md'"),
        ({"path": "../x.md"}, OutsideRootError, "outside"),
        ({"text": "x", "folder": "../.."}, OutsideRootError, "outside"),
    ],
)
async def test_what_cannot_be_checked_is_refused(
    context: ToolContext, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await check(context, **inputs)


async def test_too_few_links_fail(context: ToolContext) -> None:
    result = await check(context, text="no links", min_links=1)
    assert str(result.error) == "1 of 1 check failed: min_links: 0 links, at least 1 expected"


async def test_the_network_is_asked_only_when_told_and_only_where_the_operator_allows_it(context: ToolContext) -> None:
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        asked.append(request.url.path)
        if request.url.path == "/moved":
            return RedirectResponse("/there", 301)
        return Response(b"\0" * 100, status_code=404 if request.url.path == "/gone" else 200)

    with serving(Starlette(routes=[Route("/{name}", answer)])) as port:
        base = f"http://127.0.0.1:{port}"
        text = f"[a]({base}/there) [b]({base}/moved) [c]({base}/gone) [d](https://elsewhere.example/)"
        here = (f"127.0.0.1:{port}",)
        config = FetchConfig(allow=here, allow_private=here)
        assert (await check(context, config, text=text)).success
        assert asked == []
        result = await check(context, config, text=text, network=True)
        assert str(result.error).startswith("2 of 8 checks failed: ")
        assert "/gone' answered 404" in str(result.error)
        assert "https://elsewhere.example:443 is not in the operator's allow-list" in str(result.error)
        assert sorted(asked) == ["/gone", "/moved", "/there", "/there"]
        unset = await check(context, None, text=text, network=True)
        assert "4 of 8 checks failed" in str(unset.error)
        assert len(asked) == 4
