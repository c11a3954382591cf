from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vibe_prefect.llm.local_model.grammar import json_grammar
from vibe_prefect.llm.local_model.model_file import local_model
from vibe_prefect.llm.local_model.server_program import Launch
from vibe_prefect.llm.local_model.shared_server import turn


async def test_questions_to_one_model_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, other = local_model("one.gguf"), local_model("other.gguf")
    under_way = 0
    released = asyncio.Event()

    async def ask() -> None:
        nonlocal under_way
        async with turn(one):
            under_way += 1
            assert under_way == 1
            await released.wait()
            under_way -= 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ask())
        async with turn(other):  # another model does not wait
            released.set()


async def test_a_question_that_is_cancelled_gives_its_turn_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model, begun = local_model("one.gguf"), asyncio.Event()

    async def ask() -> None:
        async with turn(model):
            begun.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(60):
        task = asyncio.create_task(ask())
        await begun.wait()
        task.cancel()
        async with turn(model):
            pass


def test_the_arguments_of_the_server_survive_the_way_to_it() -> None:
    launch = Launch(local_model("some.gguf"), 7, "some/users")
    assert Launch.of(launch.to_json()) == launch


def test_a_grammar_leaves_no_white_space_free() -> None:
    grammar = json_grammar({"type": "object", "properties": {"a": {"enum": ["ä"]}}})
    assert grammar.startswith("%llguidance {}\nstart: %json {")
    assert '"whitespace_flexible": false' in grammar
