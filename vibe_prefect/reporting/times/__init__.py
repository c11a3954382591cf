"""Times of a run: its critical path, the spans of its nodes, the time that is left."""

__all__: list[str] = []
