"""Records of results: their storage, locks, files and reuse."""
