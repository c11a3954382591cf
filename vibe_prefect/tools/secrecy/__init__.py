"""Keys and other secrets: where they are, and hiding them in all that leaves."""

__all__: list[str] = []
