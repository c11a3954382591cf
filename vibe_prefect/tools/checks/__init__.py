"""Tools that check what nodes made: texts, JSON, pictures, sounds, links."""

__all__: list[str] = []
