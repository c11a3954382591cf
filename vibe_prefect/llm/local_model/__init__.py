"""Language models of this machine: a GGUF file, and the process of llama.cpp that answers with it."""

__all__: list[str] = []
