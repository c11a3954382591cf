from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.providers.openai_server import OpenAIServer, openai_server


@pytest.fixture
def provider() -> Generator[OpenAIServer]:
    with openai_server() as server:
        yield server
