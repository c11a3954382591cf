"""Answers of a scripted planner: a valid plan, and what typically goes wrong with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.testing import ScriptedModel
from vibe_prefect.testing.scripted import MODEL

Change = Callable[[dict[str, Any]], object]

TEXT = "A fine text, made for the test."


def valid_plan(id: str = "post") -> dict[str, Any]:
    """A plan that writes a text and saves it."""
    return {
        "id": id,
        "root_nodes": [
            {"id": "draft", "why": "The text itself.", "type": "generate", "description": "Write the text."},
            {
                "id": "save",
                "why": "People want a file.",
                "type": "transform",
                "description": "Write it to a file.",
                "dependencies": ["draft"],
                "parameters": {
                    "tool": "write_file",
                    "tool_inputs": {"path": "post.md", "content": "{{ outputs.draft.text }}"},
                },
            },
        ],
    }


def answer(change: Change | None = None) -> str:
    """A valid plan as a model writes it, changed."""
    data = copy.deepcopy(valid_plan())
    if change is not None:
        change(data)
    return json.dumps(data, indent=1)


def draft_with(**fields: Any) -> str:
    """A plan whose first node has other fields."""
    return answer(lambda data: data["root_nodes"][0].update(fields))


def save_with(**fields: Any) -> str:
    """A plan whose last node has other fields."""
    return answer(lambda data: data["root_nodes"][1].update(fields))


def saved_by(tool: str, **inputs: Any) -> str:
    return save_with(parameters={"tool": tool, "tool_inputs": inputs})


def planned_with(**fields: Any) -> str:
    """A plan with other fields of its own."""
    return answer(lambda data: data.update(fields))


def is_for_plan(question: Question) -> bool:
    return "You plan how content is made" in question.system


@dataclass
class Script:
    """Answers of a model whose tools are made once, since making them takes longer than a plan."""

    answers: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.model = ScriptedModel(self._reply, models=(MODEL, "scripted:judge*"))
        self.registry = self.model.registry

    def begin(self, *answers: str) -> None:
        """Give other answers from now on, the last of them again and again."""
        self.answers = answers
        self.model.questions.clear()

    def _reply(self, _: Question) -> str:
        return self.answers[min(len(self.model.questions), len(self.answers)) - 1]


def planner_of(*answers: str, **config: Any) -> ScriptedModel:
    """A model that gives these answers to questions for plans, the last of them again and again, and else a text."""
    given: Iterator[str] = iter(answers)
    last = answers[-1]

    def reply(question: Question) -> str:
        return next(given, last) if is_for_plan(question) else TEXT

    return ScriptedModel(reply, **{"models": (MODEL, "scripted:judge*"), **config})
