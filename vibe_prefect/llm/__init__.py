"""Nodes that a language model runs: text, structured data, and verdicts with evidence.

The plan decides what is asked and what becomes of the answer. A model gets no tools, and nothing that it writes is
rendered as a template.
"""

__all__: list[str] = []
