"""Text and bytes from elsewhere: encodings, JSON, escapes, units."""

__all__: list[str] = []
