"""Records of results: their storage, locks, files and reuse."""

__all__: list[str] = []
