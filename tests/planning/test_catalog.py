from __future__ import annotations

from vibe_prefect.planning.catalog import describe_fields


def test_each_field_is_described_to_the_model() -> None:
    fields = [line for line in describe_fields().splitlines() if line.startswith("- ")]
    assert len(fields) > 30
    assert [line for line in fields if len(line.partition(": ")[2].split()) < 2] == []
    assert "- when: Condition as one template expression" in describe_fields()
