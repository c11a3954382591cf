"""Calls to providers of language models: connection, stream, price, failure."""

__all__: list[str] = []
