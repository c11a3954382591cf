"""From a vibe to a plan: the question to a model, and the checks of its answer."""

__all__: list[str] = []
