"""Pictures and sounds: reading their files, drawing and speaking by a provider."""

__all__: list[str] = []
