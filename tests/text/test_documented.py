"""Models that describe their fields by the docstrings below them."""

from __future__ import annotations

from pydantic import Field

from vibe_prefect.text.documented import Documented, field_docstrings


class Base(Documented):
    name: str
    """What it is called."""

    plain: int = 0

    kind: str = Field("a", alias="as", description="replaced")
    """What it is,
    in two lines."""


class Derived(Base):
    name: str = "b"
    """What this one is called."""

    other: Base | None = None
    """One more."""


def test_docstrings_describe_fields_and_are_inherited() -> None:
    properties = Derived.model_json_schema()["properties"]
    assert {name: field.get("description") for name, field in properties.items()} == {
        "name": "What this one is called.",
        "plain": None,
        "as": "What it is,\nin two lines.",
        "other": "One more.",
    }


def test_docstrings_of_fields_describe_those_named_by_their_own_names_too() -> None:
    assert Base.model_json_schema(by_alias=False)["properties"]["kind"]["description"] == "What it is,\nin two lines."


def test_model_without_source_has_no_descriptions() -> None:
    made = type("Made", (Documented,), {"__annotations__": {"name": str}, "__module__": "nowhere"})
    assert field_docstrings(made) == {}
