"""The numbers that the pages in docs/ promise are those of the code."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from itertools import takewhile
from typing import Any, NamedTuple

import pytest
from prefect.settings.models.server.api import ServerAPISettings
from prefect.settings.models.server.concurrency import ServerConcurrencySettings
from pydantic import BaseModel

from tests.paths import DOCS

UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "minutes": 60.0}
"""What a number is multiplied with; others, such as seconds and characters, are counted as they are."""

ROW = re.compile(r"\| (.+?) \| ([\d,]+) ?(\D*?) \| (.*?) ?\| `([\w.]+)` \|")
PROMISE = re.compile(
    r"(?<![\w.,-])\d[\d,.]*\d* "
    r"(?:s|seconds|minutes|kB|MB|GB|bytes|characters|nodes|deep|keys|rows|files|parts|problems|runs|task runs|values|"
    r"at most)\b"
)
NO_LIMITS = {
    "deploy.md": {"45 minutes"},  # a schedule that is misread
    "feedback.md": {"3 s"},  # an example
    "generation.md": {"8 characters", "6 characters", "20 characters"},  # what counts as a quote, or as a secret
    "local_model.md": {"34 MB", "98 MB", "10 seconds"},  # what is fetched, and how long an example takes
    "media.md": {"12 s"},  # an example
    "plans.md": {"0.1 s", "0.2 s", "3 s"},  # how long a simulated node waits, as the contract says; an example
}
"""Numbers with a unit that bound nothing."""


class Limit(NamedTuple):
    """A row of the page of limits."""

    number: str
    unit: str
    pages: tuple[str, ...]
    constant: str

    def __str__(self) -> str:
        return self.constant

    @property
    def text(self) -> str:
        return f"{self.number} {self.unit}".strip()

    @property
    def value(self) -> float:
        return float(self.number.replace(",", "")) * UNITS.get(self.unit, 1.0)


def limits() -> list[Limit]:
    rows = (DOCS / "limits.md").read_text().splitlines()
    found = [match for row in rows if (match := ROW.fullmatch(row))]
    assert len(found) == sum(row.startswith("| ") for row in rows) - 2, "a row is not written as the others are"
    return [Limit(row[2], row[3], tuple(re.findall(r"\((\w+\.md)\)", row[4])), row[5]) for row in found]


@cache
def prose(page: str) -> str:
    """Return a page without its blocks of code and its addresses, on one line."""
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())


def constant(name: str) -> Any:
    """Return a constant of the package, or the default of a class's field."""
    parts = name.split(".")
    modules = list(takewhile(str.islower, parts))
    found: Any = import_module(".".join(["vibe_prefect", *modules]))
    for part in parts[len(modules) :]:
        found = _default(found, part) if isinstance(found, type) else getattr(found, part)
    return found


def _default(kind: type, field: str) -> Any:
    return kind.model_fields[field].default if issubclass(kind, BaseModel) else getattr(kind(), field)


@pytest.mark.parametrize("limit", limits(), ids=str)
def test_limit_on_the_page_is_the_codes(limit: Limit) -> None:
    assert constant(limit.constant) == limit.value
    for page in limit.pages:
        assert re.search(rf"(?<![\d,.]){re.escape(limit.text)}(?!\w|,\d)", prose(page)), f"{page} does not say so"


MEASURED = {"architecture.md", "performance.md"}
"""Pages whose numbers are measurements."""


@pytest.mark.parametrize("page", sorted({path.name for path in DOCS.glob("*.md")} - {"limits.md"} - MEASURED))
def test_number_on_a_page_is_a_limit_on_the_page_of_limits(page: str) -> None:
    told = {limit.text for limit in limits() if page in limit.pages}
    ours = {found.group() for found in PROMISE.finditer(prose(page))}
    numbers = {text.split()[0] for text in told}
    unknown = {text for text in ours if text not in told and text.split()[0] not in numbers}
    assert unknown - NO_LIMITS.get(page, set()) - PREFECTS.get(page, set()) == set()


PREFECTS = {
    "plans.md": {f"{ServerAPISettings.model_fields['max_parameter_size'].default:,} bytes"},
    "deploy.md": {
        f"{ServerConcurrencySettings.model_fields['maximum_concurrency_slot_wait_seconds'].default:g} seconds"
    },
}
"""What the pages say of Prefect's own settings."""


def test_pages_say_what_prefects_own_settings_are() -> None:
    for page, texts in PREFECTS.items():
        assert all(text in prose(page) for text in texts), f"{page} does not say {texts}"
