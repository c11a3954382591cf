"""The tools that come with the package, but for checks, fetching and ComfyUI."""
