from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest_asyncio
from playwright.async_api import Browser, Page, Route

from tests.browsers import running_async_browser


@pytest_asyncio.fixture
async def browser() -> AsyncGenerator[Browser]:
    """A real browser, for one test."""
    async with running_async_browser() as running:
        yield running


@pytest_asyncio.fixture
async def page(browser: Browser, prefect_server: str) -> AsyncGenerator[Page]:
    """A page that may ask the server alone; whatever else it asks for fails the test."""
    own = prefect_server.removesuffix("/api")
    strangers: list[str] = []
    opened = await browser.new_page(viewport={"width": 1400, "height": 1000})

    async def answer(route: Route) -> None:
        url = route.request.url
        if url.endswith("/ui-settings"):  # the server does not know the port that it was given
            settings = await (await route.fetch()).json()
            await route.fulfill(json=settings | {"api_url": prefect_server})
        elif url.startswith((own, "data:", "blob:")):
            await route.continue_()
        else:
            strangers.append(url)
            await route.abort()

    await opened.route("**/*", answer)
    yield opened
    await opened.close()
    assert [url for url in strangers if "tracker" in url or "example" in url] == []
