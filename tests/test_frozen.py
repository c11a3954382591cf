"""Frozen dataclasses of ours are those of the standard library, made in less time."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, Protocol

import pytest

from vibe_prefect.frozen import frozen

Decorator = Callable[[type[Any]], type[Any]]


class Made(Protocol):
    """An instance of the example below."""

    name: str


def example(decorator: Decorator) -> type[Any]:
    @decorator
    class Example:
        name: str
        tags: tuple[str, ...] = ()
        hidden: int = field(default=0, repr=False)
        note: str = field(default="", compare=False)
        places: list[int] = field(default_factory=list[int], hash=False)
        made: str = field(default="here", init=False)
        number: int = field(default=1, kw_only=True)

        def __post_init__(self) -> None:
            assert self.name

    Example.__qualname__ = "Example"
    return Example


@frozen(slots=True)
class Slotted:
    """A value that can be pickled."""

    name: str
    size: int = 0


@frozen
class Below(Slotted):
    """A value with the fields of another one."""

    more: int = 5


PAIRS = [
    pytest.param(frozen, dataclass(frozen=True), id="plain"),
    pytest.param(frozen(slots=True), dataclass(frozen=True, slots=True), id="slots"),
]
ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a",), {}),
    (("a", ("b",)), {"note": "c", "number": 2}),
    (("a",), {"hidden": 3, "places": [1]}),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_instances_are_those_of_a_dataclass(ours: Decorator, theirs: Decorator) -> None:
    mine, other = example(ours), example(theirs)
    for args, named in ARGUMENTS:
        value, expected = mine(*args, **named), other(*args, **named)
        assert repr(value) == repr(expected)
        assert hash(value) == hash(expected)
        assert dataclasses.asdict(value) == dataclasses.asdict(expected)
        assert value == mine(*args, **named) == copy.deepcopy(value) == dataclasses.replace(value, note="another")
        assert value not in (expected, dataclasses.replace(value, number=9))
        assert hasattr(value, "__dict__") == hasattr(expected, "__dict__")
    assert mine.__match_args__ == other.__match_args__
    assert list(inspect.signature(mine).parameters) == list(inspect.signature(other).parameters)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_misuse_has_the_words_of_a_dataclass(ours: Decorator, theirs: Decorator) -> None:
    attempts: list[Callable[[type[Any]], object]] = [
        lambda cls: cls(),
        lambda cls: cls("a", unknown=1),
        lambda cls: cls("a", (), 1, "", [], 2),
        lambda cls: setattr(cls("a"), "name", "b"),
        lambda cls: delattr(cls("a"), "name"),
    ]
    for attempt in attempts:
        said = [refusal(attempt, example(decorator)) for decorator in (ours, theirs)]
        assert said[0] == said[1]


def refusal(attempt: Callable[[type[Any]], object], cls: type[Any]) -> tuple[type[Exception], str]:
    with pytest.raises((TypeError, FrozenInstanceError)) as refused:
        attempt(cls)
    return refused.type, str(refused.value).replace("example.<locals>.", "")


def test_values_can_be_pickled() -> None:
    value = Slotted("a", size=2)
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - its own bytes


def test_another_class_may_build_on_it() -> None:
    @dataclass(frozen=True)
    class Theirs(Slotted):
        more: int = 5

    assert (Theirs("a").more, Below("a", 1, 2)) == (5, Below("a", size=1, more=2))


def test_its_methods_stay_its_own() -> None:
    @frozen
    class Worded:
        name: str

        def __repr__(self) -> str:
            return "its own"

    assert repr(Worded("a")) == "its own"
