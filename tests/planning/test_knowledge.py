from __future__ import annotations

from pathlib import Path

import pytest

from tests.planning.answers import answer, planner_of
from vibe_prefect import MetaPlanner, UsageError, Vibe
from vibe_prefect.planning.knowledge import MAX_NOTES, Note, fitting_notes, read_notes

TEA = Vibe(description="A launch week for our new teas", style="warm", domain="Retail")


@pytest.mark.parametrize(
    ("domains", "when", "fits"),
    [
        ((), (), True),
        (("retail",), (), True),
        (("Retail", "food"), (), True),
        (("finance",), (), False),
        (("launch week",), (), True),
        ((), ("tea",), True),
        ((), ("teas",), True),
        ((), ("steam",), False),
        ((), ("cars", "a new launch"), True),
        ((), ("a text about tea or coffee shops",), False),
        ((), ("when it is about a launch of tea",), True),
        ((), ("tea, launch",), True),
        (("finance",), ("tea",), True),
        ((), ("茶",), False),
    ],
)
def test_notes_fit_by_domain_or_by_the_words_of_when(
    domains: tuple[str, ...], when: tuple[str, ...], fits: bool
) -> None:
    note = Note("a.md", "text", domains, when)
    assert fitting_notes([note], TEA) == ((note,) if fits else ())


def test_notes_fit_languages_without_white_space() -> None:
    note = Note("a.md", "text", (), ("绿茶",))
    assert fitting_notes([note], Vibe(description="为我们的绿茶写一篇文章")) == (note,)
    assert fitting_notes([note], Vibe(description="为我们的咖啡写一篇文章")) == ()


def test_notes_that_fit_best_come_first() -> None:
    general, shop, tea = Note("a.md", "x"), Note("b.md", "x", ("retail",)), Note("c.md", "x", ("retail",), ("tea",))
    assert fitting_notes([general, shop, tea], TEA) == (tea, shop, general)
    many = [Note(f"{index}.md", "x") for index in range(MAX_NOTES + 5)]
    assert len(fitting_notes([*many, tea], TEA)) == MAX_NOTES


def test_notes_are_read_from_files_folders_and_globs(folder: Path) -> None:
    (folder / "docs" / "deep").mkdir(parents=True)
    (folder / "docs" / "tea.md").write_bytes(
        b"\xef\xbb\xbf---\r\ndomain: [retail, food]\r\nwhen: tea, a launch\r\n---\r\n# Tea\r\n"
    )
    (folder / "docs" / "deep" / "plain.md").write_text("# No front matter\n\n---\n\nA line.\n")
    notes = {note.name: note for note in read_notes(["docs", "docs/*.md", "docs/deep/plain.md"])}
    assert list(notes) == ["docs/deep/plain.md", "docs/tea.md"]
    assert notes["docs/tea.md"] == Note("docs/tea.md", "# Tea", ("retail", "food"), ("tea", "a launch"))
    assert notes["docs/deep/plain.md"].text == "# No front matter\n\n---\n\nA line."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("---\n- a list\n---\n", "expected front matter with 'domain' and 'when', found ['a list']"),
        ("---\ndomain: {a: b}\n---\n", "domain: expected a text or a list of texts"),
        ("---\nwhen: [1, 2]\n---\n", "when: expected a text or a list of texts"),
        ("---\nwhen: [tea\n---\n", "its front matter cannot be read"),
        ("x" * 200_001, "has more than 200,000 bytes"),
        (b"\xff\xfe\xff", "is not"),
        (None, "there is no such file"),
    ],
)
def test_a_note_that_cannot_be_used_is_refused_with_the_reason(
    folder: Path, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (folder / "note.md").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_notes(["note.md"])
    assert "note.md" in str(caught.value)
    assert message in str(caught.value)


async def test_planning_names_the_knowledge_that_was_used(folder: Path) -> None:
    (folder / "tea.md").write_text("---\nwhen: tea\n---\nTea heals nobody.\n")
    (folder / "cars.md").write_text("---\nwhen: cars\n---\nCars are fast.\n")
    (folder / "long.md").write_text("A long story. " * 10_000)
    model = planner_of(answer())
    planner = MetaPlanner(tool_registry=model.registry, knowledge=["*.md"])
    plan = await planner.plan(TEA)
    assert plan.source_vibe.metadata == {"knowledge": ["tea.md", "long.md"]}
    prompt = model.questions[0].prompt
    assert "[begin knowledge from tea.md " in prompt
    assert "Cars are fast." not in prompt
    assert model.questions[0].input_tokens <= 24_000
    assert planner.last_planned is not None
    assert list(planner.last_planned.cuts) == ["long.md"]
    again = await planner.refine(plan, "shorter")
    assert again.source_vibe == plan.source_vibe


async def test_planning_takes_knowledge_of_another_package() -> None:
    class Base:
        def to_prompt_context(self, query: str) -> str:
            return f"What is known of {query}" if "tea" in query else ""

    model = planner_of(answer())
    planner = MetaPlanner(tool_registry=model.registry, knowledge_base=Base())
    assert (await planner.plan(TEA)).source_vibe.metadata == {"knowledge": ["knowledge_base"]}
    assert "What is known of A launch week" in model.questions[0].prompt
    assert (await planner.plan(Vibe(description="cars"))).source_vibe.metadata == {}
