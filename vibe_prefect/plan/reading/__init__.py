"""Reading plan files: YAML or JSON in, a plan and the places of its values out."""

__all__: list[str] = []
