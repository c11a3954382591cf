from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest_asyncio
from playwright.async_api import Browser

from tests.browsers import running_async_browser


@pytest_asyncio.fixture
async def browser() -> AsyncGenerator[Browser]:
    """A real browser, for one test."""
    async with running_async_browser() as running:
        yield running
