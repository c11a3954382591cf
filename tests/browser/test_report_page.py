"""The report in a real browser: what is seen, what is reached, what is fetched, and what hostile text can do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Browser, Page

from tests.reporting.reports import hostile_report, large_report, release_report
from vibe_prefect.reporting.html import render_html
from vibe_prefect.reporting.media import local_files
from vibe_prefect.reporting.report import RunReport

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
REPORTS = {"fair": release_report, "hostile": lambda: hostile_report(5_000_000), "large": large_report}

CONTRASTS = """() => {
  const channels = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], a};
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const svg = element.closest("svg");
    if (svg) {
      const card = element.parentElement.querySelector(".card") || svg.querySelector(".page");
      return channels(getComputedStyle(card).fill).rgb;
    }
    for (let at = element; at; at = at.parentElement) {
      const {rgb, a} = channels(getComputedStyle(at).backgroundColor);
      if (a === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.closest("script, style, title, desc")) continue;
    const style = getComputedStyle(element);
    const front = channels(element.closest("svg") ? style.fill : style.color).rgb;
    const [light, dark] = [luminance(front), luminance(behind(element))].sort((a, b) => b - a);
    const name = `${element.tagName} .${element.getAttribute("class")} ${texts.currentNode.data}`;
    found.push([(light + 0.05) / (dark + 0.05), name]);
  }
  return found;
}"""


@dataclass
class Visit:
    """A page that is looked at, and what it did meanwhile."""

    page: Page
    requests: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])


@asynccontextmanager
async def visited(
    browser: Browser, folder: Path, report: RunReport, files: dict[str, Path] | None = None, **context: Any
) -> AsyncGenerator[Visit]:
    """Open a report; whatever it asks for, logs or throws is noted, and at the end there must be nothing."""
    path = folder / "report.html"
    path.write_text(render_html(report, files), encoding="utf-8")
    options: dict[str, Any] = {"viewport": DESKTOP} | context
    opened = await browser.new_context(**options)
    visit = Visit(await opened.new_page())
    page = visit.page
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("console", lambda message: visit.complaints.append(message.text))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("dialog", lambda dialog: visit.complaints.append(dialog.message))
    await page.goto(path.as_uri())
    try:
        yield visit
    finally:
        asked = [url for url in visit.requests if not url.startswith("data:") and url.split("#")[0] != path.as_uri()]
        await opened.close()
    assert asked == []
    assert visit.complaints == []


@pytest.fixture(params=REPORTS)
def report(request: pytest.FixtureRequest) -> RunReport:
    return REPORTS[request.param]()


async def test_the_sections_stand_in_the_order_of_what_matters(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report()) as visit:
        page = visit.page
        assert await page.title() == "Failed: release-digest"
        assert await page.locator("h2").all_inner_texts() == [
            "1 node failed",
            "What now",
            "Outputs",
            "Timeline",
            "Plan",
            "Nodes",
            "Who and why",
            "Vibe and plan",
        ]
        assert await page.locator(".failure pre").inner_text() == (
            "ConnectionError: https://api.example.org answered 503\nafter 3 attempts"
        )
        assert await page.locator("#feedback tbody tr").count() == 8
        assert await page.locator(".drawing a").count() == 8
        for landmark in ("banner", "main", "navigation", "contentinfo"):
            assert await page.get_by_role(landmark).count() == 1  # pyright: ignore[reportArgumentType]


async def test_bars_lie_where_the_nodes_ran(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report()) as visit:
        places: dict[str, list[float]] = await visit.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".track .tl[data-node]")].map((bar) => {
              const track = bar.parentElement.getBoundingClientRect(), box = bar.getBoundingClientRect();
              return [bar.dataset.node, [(box.x - track.x) / track.width, box.width / track.width]];
            }))"""
        )
        assert places == {
            "story": pytest.approx([0.0, 0.05], abs=0.003),
            "cover": pytest.approx([0.0, 0.3], abs=0.003),
            "outline": pytest.approx([0.05, 0.15], abs=0.003),
            "draft": pytest.approx([0.2, 0.4], abs=0.003),
            "voice": pytest.approx([0.6, 0.3], abs=0.003),
            "check": pytest.approx([0.6, 0.4], abs=0.003),
        }
        critical = await visit.page.locator(".track .critical").evaluate_all("all => all.map(bar => bar.dataset.node)")
        assert critical == ["story", "outline", "draft", "check"]
        assert await visit.page.locator(".reused a").all_inner_texts() == ["facts"]


async def test_hostile_text_is_text(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, hostile_report(5_000_000)) as visit:
        page = visit.page
        closed = page.locator("details:not([open]) > summary")
        while await closed.count():
            await closed.first.click()
        for head in await page.locator("#feedback thead button").all():
            await head.click()
        found: dict[str, Any] = await page.evaluate(
            """() => {
              const all = [...document.querySelectorAll("*")];
              const names = ["href", "src", "action", "xlink:href"];
              const addresses = all.flatMap((one) => names.map((name) => one.getAttribute(name)));
              return {
                pwned: typeof window.__pwned,
                handlers: all.filter((one) => [...one.attributes].some((a) => a.name.startsWith("on"))).length,
                addresses: addresses.filter((address) => address && !/^(#|\\.\\/|https?:|data:)/.test(address)),
                scripts: document.scripts.length,
                foreign: document.querySelectorAll("iframe, object, embed, form, base, link, img").length,
                sections: document.querySelectorAll("main > section").length,
              };
            }"""
        )
        assert found == {
            "pwned": "undefined",
            "handlers": 0,
            "addresses": [],
            "scripts": 1,
            "foreign": 0,
            "sections": 9,
        }
        assert "<script>window.__pwned=1</script>" in await page.locator(".vibe").inner_text()


async def test_the_policy_stops_what_would_get_through(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report()) as visit:
        await visit.page.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.__pwned = 1";
              document.body.append(script);
              document.body.insertAdjacentHTML("beforeend", "<i onclick='window.__pwned = 1'>x</i>");
              document.body.lastElementChild.click();
            }"""
        )
        assert await visit.page.evaluate("typeof window.__pwned") == "undefined"
        assert len(visit.complaints) == 2
        assert all("Content Security Policy" in text for text in visit.complaints)
        visit.complaints.clear()


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_the_page_never_scrolls_sideways(
    browser: Browser, tmp_path: Path, report: RunReport, viewport: dict[str, int]
) -> None:
    async with visited(browser, tmp_path, report, viewport=viewport) as visit:
        wide: int = await visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= viewport["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["fair", "hostile"])
async def test_text_stands_out(browser: Browser, tmp_path: Path, scheme: str, name: str) -> None:
    async with visited(browser, tmp_path, REPORTS[name](), color_scheme=scheme) as visit:
        contrasts: list[tuple[float, str]] = await visit.page.evaluate(CONTRASTS)
        assert len(contrasts) > 100
        assert [pair for pair in contrasts if pair[0] < 4.5] == []


async def test_dark_is_dark(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report(), color_scheme="dark") as visit:
        colour = await visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour == "rgb(11, 17, 32)"


async def test_the_keyboard_reaches_links_and_what_scrolls(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report()) as visit:
        reached: list[str] = []
        for _ in range(80):
            await visit.page.keyboard.press("Tab")
            reached.append(
                await visit.page.evaluate(
                    """(e => e.getAttribute("href") || e.getAttribute("aria-label") || e.textContent)(
                      document.activeElement
                    )"""
                )
            )
        assert reached[0] == "#main"
        for wanted in ("#failures", "#node-check", "Error of check", "The plan as a graph", "#node-draft", "Duration"):
            assert wanted in reached


async def test_the_table_sorts_by_a_column(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report()) as visit:
        head = visit.page.get_by_role("button", name="Duration")
        ids = visit.page.locator("#feedback tbody tr").first
        await head.click()
        assert await ids.get_attribute("id") == "node-story"
        await head.press("Enter")
        assert await ids.get_attribute("id") == "node-draft"
        sorted_by = visit.page.locator("#feedback th[aria-sort]")
        assert await sorted_by.get_attribute("aria-sort") == "descending"
        rows = await visit.page.locator("#feedback tbody tr").evaluate_all("all => all.map(row => row.id)")
        assert rows[-1] == "node-publish"  # what has no value comes last, both ways


async def test_the_page_says_all_without_its_script(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report(), java_script_enabled=False) as visit:
        assert await visit.page.locator("#feedback thead th").count() == 11
        assert await visit.page.locator("#feedback thead button").count() == 0


async def test_pictures_sound_and_links(browser: Browser, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "cover.png")
    (tmp_path / "voice.wav").write_bytes(b"RIFF")
    report = release_report()
    async with visited(browser, tmp_path, report, local_files(report, tmp_path)) as visit:
        image = visit.page.locator("figure img")
        assert await image.evaluate("async image => { await image.decode(); return image.naturalWidth; }") == 40
        assert await visit.page.locator("figure audio").count() == 1
        assert await visit.page.locator("figure video").count() == 0
        links = await visit.page.locator("figcaption a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert links == ["./cover.png", "./voice.wav", "https://example.org/a.mp4"]


async def test_a_large_run_opens_soon(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, large_report(500, "word " * 2_000)) as visit:
        spent: float = await visit.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        assert spent < 10_000  # milliseconds, on a busy machine
        assert await visit.page.locator(".bars li").count() == 500


async def test_a_nodes_row_leads_to_who_made_it_and_why_which_is_folded(browser: Browser, tmp_path: Path) -> None:
    async with visited(browser, tmp_path, release_report()) as visit:
        prompt = visit.page.locator("#why-draft pre").first
        assert not await prompt.is_visible()
        await visit.page.locator('#node-draft a[href="#why-draft"]').click()
        await prompt.wait_for(state="visible")
        assert "Calm, without superlatives." in await prompt.inner_text()
        assert not await visit.page.locator("#why-check").is_visible()
