"""The tools that come with the package, but for checks, fetching and ComfyUI."""

__all__: list[str] = []
