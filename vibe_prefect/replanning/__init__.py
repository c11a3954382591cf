"""Replanning: from the report of a run to an edited plan, by rule or by a model."""

__all__: list[str] = []
