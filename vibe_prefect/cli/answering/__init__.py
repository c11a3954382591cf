"""The commands that answer what nodes ask, and that edit what nodes made."""

__all__: list[str] = []
